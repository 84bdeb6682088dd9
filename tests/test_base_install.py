"""The base install without the extras: they are made impossible to import in a process of its own."""

import subprocess
import sys

import pytest

from workflow_r1.installation import install_command

EXTRAS = (
    "accelerate",
    "bm25s",
    "huggingface_hub",
    "inspect_ai",
    "jaxtyping",
    "matplotlib",
    "openai",
    "peft",
    "pyarrow",
    "safetensors",
    "tensorboard",
    "tokenizers",
    "torch",
    "transformers",
    "wandb",
)

# What is None there raises an ImportError, as an absent package does.
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"

TORCH_FREE = (
    "workflow_r1",
    "workflow_r1.errors",
    "workflow_r1.trajectory",
    "workflow_r1.data",
    "workflow_r1.store",
    "workflow_r1.prompts",
    "workflow_r1.retrieval",
    "workflow_r1.inference",
    "workflow_r1.operators",
    "workflow_r1.environment",
    "workflow_r1.rollout",
    "workflow_r1.rewards",
    "workflow_r1.embedded",
    "workflow_r1.config",
    "workflow_r1.assembly.services",
    "workflow_r1.methods",
    "workflow_r1.evaluation",
    "workflow_r1.reports",
    "workflow_r1.cli",
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, timeout=120)


def test_everything_up_to_the_reward_and_evaluation_imports_without_the_extras():
    done = run("import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in TORCH_FREE))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["workflow_r1.algorithms", "workflow_r1.policy.packing"])
def test_the_block_holds(module):
    done = run(f"import {module}")
    assert done.returncode == 1
    assert "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr


def test_an_evaluation_against_a_chat_model_runs_without_the_extras():
    done = run(
        """
import asyncio
from workflow_r1.config import load_run_config
from workflow_r1.evaluation import evaluate
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.rollout import ChatPolicy
from workflow_r1.running.parts import held_out_questions, open_environments

config = load_run_config("embedded", ["training.evaluation_questions=2"])
questions = held_out_questions(config)
ask = "<think>ask</think><tool>AnswerGenerate: When was Borani released?</tool>"
answer = "<think>done</think><answer>1950</answer>"
policy = ChatPolicy(ScriptedChatModel(lambda messages: answer if len(messages) > 1 else ask), name="scripted")
result = asyncio.run(
    evaluate(questions, policy=policy, make_environment=open_environments(config), seed=0)
)
print([[turn.well_formed for turn in trajectory.turns] for trajectory in result.trajectories])
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[True, True], [True, True]]"


def test_the_command_line_evaluates_a_fixed_workflow_without_the_extras(tmp_path):
    done = run(
        "from workflow_r1.cli import main\n"
        f"sys.argv = ['workflow-r1', 'evaluate', '-m', 'cot', '--limit', '3', '--output', {str(tmp_path / 'out')!r}]\n"
        "main()"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "summary.json").is_file()


def test_training_without_its_extra_says_what_to_install():
    done = run("from workflow_r1.cli import main\nsys.argv = ['workflow-r1', 'train']\nmain()")
    assert done.returncode == 2
    assert install_command("train") in done.stderr
    assert "Traceback" not in done.stderr
