"""A stored run scored again: group by group, into a new directory. The functions that these tests name only compute."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow_r1.config import RunConfig, dump_toml, load_run_config
from workflow_r1.errors import ConfigError, DataError, RewardError, UntrustedError, UserError
from workflow_r1.reports import read_run
from workflow_r1.rewards import score_trajectory
from workflow_r1.running.rescoring import rescore_run
from workflow_r1.running.trust import remember
from workflow_r1.trajectory import Question, StopReason, Trajectory, Turn, load_trajectories
from workflow_r1.trajectory.index import append_indexed

REWARDS = """
def num_turns(trajectory):
    return -len(trajectory.turns)

def place(group):
    return range(len(group))

def broken(trajectory):
    return None
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mine.py").write_text(REWARDS)
    monkeypatch.chdir(tmp_path)


def trajectory(step: int, group: str, number: int, answer: str) -> Trajectory:
    texts = ["<think>a</think><tool>Search: b</tool>"] * number + [f"<think>c</think><answer>{answer}</answer>"]
    turns = tuple(
        Turn(index=index, text=text, token_ids=(1, 2), logprobs=(-1.0, -0.5), well_formed=True)
        for index, text in enumerate(texts, start=1)
    )
    return Trajectory(
        id=f"{step}-{group}-{number}", group_id=group, question=Question(id=group, text="?", golden_answers=("Ada Lovelace",)),
        turns=turns, answer=answer, stop_reason=StopReason.ANSWERED, step=step,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two steps of two groups of two, one of them ended by the infrastructure."""
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.toml").write_text(dump_toml(RunConfig(name="run")))
    for step in (1, 2):
        scored = [
            score_trajectory(trajectory(step, group, number, answer))
            for group in ("g", "h")
            for number, answer in enumerate(("Ada Lovelace", "Ada"))
        ]
        failed = trajectory(step, "h", 9, "x").model_copy(update={"stop_reason": StopReason.OPERATOR_FAILED})
        append_indexed(directory / "trajectories.jsonl.gz", [*scored, failed])
    return directory


def files_of(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def rewards(directory: Path) -> Iterator[float]:
    return (each.reward.total for each in load_trajectories(directory / "trajectories.jsonl.gz") if hasattr(each, "reward"))  # fmt: skip


def test_its_own_reward_gives_the_same_trajectories(run: Path, tmp_path: Path) -> None:
    done = rescore_run(run, output=tmp_path / "same")
    assert load_trajectories(done.directory / "trajectories.jsonl.gz") == load_trajectories(run / "trajectories.jsonl.gz")  # fmt: skip
    assert all(step.before == step.after for step in done.steps)


def test_another_reward_is_written_beside_and_the_run_stays(run: Path, tmp_path: Path) -> None:
    before = files_of(run)
    done = rescore_run(run, ["reward=f1"], output=tmp_path / "f1")
    assert files_of(run) == before
    assert [*rewards(done.directory)] == pytest.approx([1.0, 2 / 3] * 4)  # "Ada" of two words: 2 * 1 / 3.
    assert load_run_config(done.directory / "config.toml").reward.weights == {"f1": 1.0}
    record = read_run(done.directory)
    assert [row["rollout/reward"] for row in record.metrics] == pytest.approx([5 / 6] * 2)
    assert [row["rollout/num_failed"] for row in record.metrics] == [1, 1]
    assert done.mean("rollout/reward", before=True) == 0.5
    assert done.mean("rollout/reward", before=False) == pytest.approx(5 / 6)


def test_functions_see_trajectories_and_groups_as_in_training(run: Path, tmp_path: Path) -> None:
    override = 'reward.weights={"mine.py:num_turns" = 1.0, "mine.py:place" = 10.0}'
    done = rescore_run(run, [override], output=tmp_path / "own")
    assert [*rewards(done.directory)] == [-1.0, 8.0] * 4
    assert done.steps[0].after["rollout/part/place"] == 0.5


def test_a_function_that_fails_leaves_the_run_alone_and_is_named(run: Path, tmp_path: Path) -> None:
    before = files_of(run)
    with pytest.raises(RewardError, match="expected the reward function broken to return a finite number"):
        rescore_run(run, ['reward.weights={"mine.py:broken" = 1.0}'], output=tmp_path / "own")
    assert files_of(run) == before
    assert not (tmp_path / "own").exists()


def test_a_stranger_s_function_is_asked_about_and_one_s_own_is_not(run: Path, tmp_path: Path) -> None:
    config = RunConfig.model_validate({"name": "run", "reward": {"weights": {"mine.py:num_turns": 1.0}}})
    (run / "config.toml").write_text(dump_toml(config))
    (run / "mine.py").write_text(REWARDS)
    with pytest.raises(UntrustedError, match=r"run the Python function .*mine\.py:num_turns"):
        rescore_run(run, output=tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    rescore_run(run, ["reward.weights={f1 = 1.0}"], output=tmp_path / "mine")
    rescore_run(run, output=tmp_path / "theirs", trust=True)
    assert [*rewards(tmp_path / "theirs")] == [-1.0, -2.0] * 4


def test_the_place_must_be_new(run: Path) -> None:
    remember(run)
    with pytest.raises(UserError, match="expected a new or empty directory"):
        rescore_run(run, ["reward=f1"], output=run)


def test_without_a_place_it_gets_one_of_its_own(run: Path) -> None:
    place = rescore_run(run, ["reward=f1"]).directory
    assert place.parent.name == "runs" and place.name.startswith("run-rescored-")
    assert json.loads((place / "environment.json").read_text())["simulation"] in (True, False)


@pytest.mark.parametrize("override", ["training.steps=3", "rewards=f1", "seed=1"])
def test_nothing_but_the_reward_can_be_set(run: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="expected keys of the section reward"):
        rescore_run(run, [override])


def test_what_is_no_run_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"with config\.toml, found none in"):
        rescore_run(tmp_path)
    (run / "trajectories.jsonl.gz").unlink()
    with pytest.raises(DataError, match="expected the trajectories of a run at"):
        rescore_run(run)
