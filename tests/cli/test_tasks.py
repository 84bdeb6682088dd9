"""Every command with a task of one's own: the embedded policy acts in it as it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Called

from workflow_r1.trajectory import ScoredTrajectory, StopReason, TaskReward, load_trajectories

SUPPORT = Path(__file__).parents[1] / "support"

RUN = f"""
name = "letters"
task = "{SUPPORT / "letters_task.py"}:CountLetters"

[environment]
prompt_style = "brief"
max_turns = 4
max_response_tokens = 200
max_prompt_tokens = 60

[sampling]
turn_end = "action"

[policy]
threads = 1

[objective]
kl_coefficient = 0.0

[training]
steps = 1
questions_per_step = 2
group_size = 3
mini_batch_questions = 2
evaluation_questions = 3
"""


def succeed(call: Callable[..., Called], *arguments: str) -> str:
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_command_works_for_a_task_of_ones_own(call: Callable[..., Called], tmp_path: Path) -> None:
    (tmp_path / "letters.toml").write_text(RUN)

    told = succeed(call, "doctor", "letters.toml")
    assert "letters (a simulation): 96 instances to train on, 3 held out; actions any, in the format tags" in " ".join(
        told.split()
    )
    told = succeed(call, "tasks", "letters.toml", "--limit", "2")
    assert "CountLetters in" in told and "evaluation-1" in told and "Question: Who is the spouse of" in told
    assert "LLM calls" in succeed(call, "train", "letters.toml", "--dry-run")

    told = succeed(call, "train", "letters.toml", "--output", "run")
    assert "held out at step 1: success" in told and "workflow-r1 evaluate run" in told and "ensemble" not in told
    sampled = load_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert len(sampled) == 6
    for trajectory in sampled:
        assert isinstance(trajectory, ScoredTrajectory) and isinstance(trajectory.reward, TaskReward)
        assert trajectory.reward.total == trajectory.turn_rewards
    ended = [trajectory for trajectory in sampled if trajectory.stop_reason is StopReason.DONE]
    assert len(ended) > 3
    for trajectory in ended:
        actions = [call for turn in trajectory.turns for call in turn.calls]
        assert trajectory.reward.parts == {"actions": len(actions)}
    first, row = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert row["rollout/success"] == sum(trajectory.reward.success for trajectory in sampled) / 6
    assert row["rollout/part/actions"] == pytest.approx(sum(t.reward.parts["actions"] for t in ended) / len(ended))
    assert row["rollout/stop/done"] == len(ended) / 6
    assert {"evaluation/success", "evaluation/success_low", "evaluation/success_high"} <= first.keys()
    assert not {key for key in {*first, *row} if "exact_match" in key or key.endswith("/f1")}

    told = succeed(call, "evaluate", "run", "--limit", "3", "--seed", "1,2", "--output", "figures")
    assert "success [95%]" in told and "exact match" not in told
    rows = [json.loads(line) for line in (tmp_path / "figures" / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    for each in rows:
        assert (each["benchmark"], each["exact_match"], each["f1"]) == ("letters", None, None)
        assert each["success"] in (0.0, 1.0) and each["reward"] > 0
    summary = json.loads((tmp_path / "figures" / "summary.json").read_text())
    assert summary["figure"] == "success"
    assert summary["figures"][0]["success"]["estimate"] == sum(each["success"] for each in rows) / 6
    card = json.loads((tmp_path / "figures" / "card.json").read_text())
    assert card["benchmarks"]["letters"]["task"] == {"name": "letters", "settings": {}}
    assert card["is_simulation"]
    assert "success [95%]" in succeed(call, "report", "figures")

    told = succeed(call, "report", "run")
    assert "held-out success [95% interval]" in told
    page = (tmp_path / "run" / "report.md").read_text()
    assert "# letters (a simulation)" in page and "embedded world" not in page
    assert "## Held-out success" in page and "CountLetters" in page and "(actions " in page

    told = succeed(call, "ask", "run", "evaluation-1")
    assert "success" in told and "done" in told
    succeed(call, "rollout", "run", "--limit", "2", "--output", "more.jsonl")
    assert all(isinstance(each, ScoredTrajectory) for each in load_trajectories(tmp_path / "more.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--method", "cot"], "method: cot answers questions; with task ="),
        (["evaluate", "--benchmark", "embedded"], "benchmark: expected none with task ="),
        (["evaluate", "--questions", "q.jsonl"], "expected no file of questions with task ="),
        (["rollout", "--method", "react", "--output", "r.jsonl"], "method: react answers questions"),
        (["ask", "nobody"], "expected the id of an instance, received 'nobody'"),
        (["tasks", "--split", "test"], "--split: expected one of train, evaluation, received 'test'"),
        (["train", "-o", "data.source=files"], "expected no data.source with task"),
        (["train", "-o", "tasks.letters.size=3"], "tasks.letters.size: unknown key"),
    ],
)
def test_what_belongs_to_questions_is_refused(
    call: Callable[..., Called],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "letters.toml").write_text(RUN)
    (tmp_path / "q.jsonl").write_text('{"question": "?", "answer": ["a"]}\n')
    done = call(arguments[0], "letters.toml", *arguments[1:])
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert {path.name for path in tmp_path.iterdir()} <= {"letters.toml", "q.jsonl"}


WRONG = """
from workflow_r1.tasks import Episode, Reply, Task
from workflow_r1.trajectory import Question


class Game(Episode):
    def start(self):
        return "Question: Where was Mirere Sul born?"

    def act(self, action):
        {act}


class Wrong(Task):
    name = "wrong"

    def instances(self, split, num):
        {instances}

    def open(self, instance, services):
        return Game()
"""

APART = "return [Question(id=f'{split}-{n}', text='x', golden_answers=()) for n in range(4)]"


@pytest.mark.parametrize(
    ("act", "instances", "message"),
    [
        ("return 1 / 0", APART, "wrong.py:11: Game.act of the task wrong (instance evaluation-"),
        ("return None", APART, "wrong.py:10: Game.act of the task wrong"),
        ("return Reply('x', reward=float('nan'))", APART, "expected a finite number as the reward, received nan"),
        ("return Reply(done=True, success=True)", APART, "expected a reward with the last reply"),
        (
            "pass",
            "return [Question(id='a', text='x', golden_answers=())] * 2",
            "expected every id once in the split 'train'",
        ),
        (
            "pass",
            "return [Question(id='a', text='x', golden_answers=())]",
            "found 1 of 1 held-out ones among those to train on",
        ),
        ("pass", "return {'train': []}[split]", "expected instances of the split 'train', received none"),
        ("pass", "return undefined", "wrong.py:18: Wrong.instances of the task wrong (split 'train') raised NameError"),
    ],
)
def test_a_wrong_task_is_named_by_file_and_line_and_leaves_nothing_half_written(
    call: Callable[..., Called],
    tmp_path: Path,
    act: str,
    instances: str,
    message: str,
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG.format(act=act, instances=instances))
    (tmp_path / "wrong.toml").write_text(
        RUN.replace(str(SUPPORT / "letters_task.py"), "wrong.py").replace("CountLetters", "Wrong")
    )
    done = call("train", "wrong.toml", "-o", "training.evaluate_every=0", "--output", "run")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "trajectories.jsonl").exists() or not load_trajectories(
        tmp_path / "run" / "trajectories.jsonl"
    )


def test_the_tasks_that_have_a_name_are_listed(call: Callable[..., Called]) -> None:
    told = succeed(call, "tasks")
    assert all(name in told for name in ("qa", "textarena", "openenv"))
    assert json.loads(succeed(call, "tasks", "--json"))["qa"] == "questions with golden answers"
