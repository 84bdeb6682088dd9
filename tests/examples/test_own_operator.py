"""The example of operators of one's own runs as a reader would run it: its commands, and a whole trajectory."""

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

from workflow_r1.assembly.environments import build_environment_factory
from workflow_r1.assembly.operators import build_operators
from workflow_r1.assembly.services import build_services
from workflow_r1.config import load_run_config
from workflow_r1.inference import ScriptedChatModel
from workflow_r1.operators import OperatorServices
from workflow_r1.rollout import ChatPolicy, rollout
from workflow_r1.trajectory import Question

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "examples" / "own_operator.toml"


def test_the_commands_of_the_configuration_work() -> None:
    commands = re.findall(r"^#     workflow-r1 (operators .*)$", CONFIG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    outputs = []
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "workflow_r1.cli", *shlex.split(command)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert len(outputs) == 2
    assert all(f"* {name}" in outputs[0] for name in ("Simplify", "DaysBetween", "SearchManual"))
    assert outputs[1].startswith("8 days\n")


def test_every_operator_works_in_a_trajectory() -> None:
    config = load_run_config(CONFIG)
    llm = ScriptedChatModel(["<simplified>Descale monthly.</simplified>"])
    turns = [
        "<tool>SearchManual: how often descaling</tool>",
        "<tool>Simplify: <text>Run the program.</text> <max_words>9</max_words></tool>",
        "<tool>DaysBetween: <start>2024-02-28</start> <end>2024-03-01</end></tool>",
        "<tool>DaysBetween: <start>in spring</start> <end>2024-03-01</end></tool>",
        "<tool>SearchManual: ?</tool>",
        "<answer>monthly</answer>",
    ]
    policy = ChatPolicy(ScriptedChatModel([f"<think>t</think>{turn}" for turn in turns]), name="scripted")
    make_environment = build_environment_factory(
        config.environment, operators=build_operators(config.pool), services=OperatorServices(chat=llm)
    )
    question = Question(id="q", text="How often?", golden_answers=())
    trajectory = asyncio.run(
        rollout(
            question, policy=policy, environment=make_environment(question), trajectory_id="t", group_id="g", seed=0
        )
    )
    calls = [turn.calls[0] for turn in trajectory.turns[:-1]]
    assert [call.valid for call in calls] == [True, True, True, False, False]
    assert calls[0].observation.startswith("[1] Descaling: Run the descaling program once a month")
    assert "9 words at most" in llm.requests[0].messages[0].content
    assert [call.observation for call in calls[1:3]] == ["Descale monthly.", "2 days"]
    assert calls[3].observation.startswith("DaysBetween was not run: <start> must be a date such as 2024-03-31.")
    assert trajectory.answer == "monthly"


def test_its_section_reaches_the_operator() -> None:
    config = load_run_config(CONFIG)
    search = build_operators(config.pool)["SearchManual"]
    assert search.settings.num_passages == 2
    result = asyncio.run(search("filter pump lamp descaling", build_services(config.services, config.pool)))
    assert len(result.observation.splitlines()) == 2


def test_each_operator_is_about_ten_lines() -> None:
    source = (ROOT / "examples" / "own_operator.py").read_text(encoding="utf-8")
    functions = re.findall(r"^async def \w+\(.*?(?=\n\n\n|\Z)", source, flags=re.MULTILINE | re.DOTALL)
    assert len(functions) == 4
    assert max(len(function.splitlines()) for function in functions) <= 12
