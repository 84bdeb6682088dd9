"""A study: its plan, its tuning, its runs after a kill and in several processes, and two directories made one."""

import json
import shutil
from pathlib import Path

import pytest
from run_rows import rows

from workflow_r1.errors import ConfigError, UserError
from workflow_r1.recording.events import StepFinished
from workflow_r1.recording.run_lock import hold_run_directory
from workflow_r1.reports.study.record import RunFigures, TunedValue
from workflow_r1.running.planned import is_trained, num_steps_done
from workflow_r1.running.run_directory import write_description
from workflow_r1.running.study import SEED_AGAIN, carry_out, choose, merge, plan_study, report_study
from workflow_r1.running.study_estimate import RunCost, estimate_study, total_minutes

SMALL = """
overrides = [
    "training.steps=2", "training.questions_per_step=2", "training.mini_batch_questions=2", "training.group_size=2",
    "training.evaluate_every=1", "training.evaluation_questions=2", "training.evaluation_samples=2",
    "training.checkpoint_every=1", "environment.max_turns=2",
]
"""

DECLARED = f"""
name = "tiny"
{SMALL}
seeds = 2
contrasts = [["turn", "token"]]

[arms.turn]
[arms.token]
overrides = ["objective.preset=grpo", "optimiser.learning_rate=1e-3"]
"""


def write(folder: Path, text: str = DECLARED) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def plan(tmp_path: Path, text: str = DECLARED, **options):
    return plan_study(write(tmp_path, text), directory=tmp_path / "out", **options)


# ----------------------------------------------------------------------------------------------------------- the plan


def test_every_arm_comes_once_before_any_seed_comes_again(tmp_path):
    made = plan(tmp_path)
    runs = made.runs({})
    assert list(runs) == [("world", "turn", 0), ("world", "token", 0), ("world", "turn", 1), ("world", "token", 1)]
    run = runs["world", "token", 1]
    assert run.directory == tmp_path / "out" / "runs" / "world" / "token" / "seed-1"
    assert (run.config.seed, run.config.objective.preset, run.config.policy.threads) == (1, "grpo", 1)
    assert runs["world", "turn", 1].config.objective.preset == "gsspo"


def test_arms_of_a_seed_share_its_world_and_the_arm_run_again_does_too(tmp_path):
    text = 'seed_keys = ["embedded.seed"]\nagain = "turn"\n' + DECLARED
    runs = plan(tmp_path, text).runs({})
    assert [runs["world", arm, 1].config.embedded.seed for arm in ("turn", "token", "turn again")] == [1, 1, 1]
    assert [runs["world", arm, 1].config.seed for arm in ("turn", "token", "turn again")] == [1, 1, 1 + SEED_AGAIN]


def test_worlds_are_crossed_with_arms_and_an_arm_changes_last(tmp_path):
    text = (
        DECLARED
        + '[worlds.plain]\n[worlds.hot]\noverrides = ["optimiser.learning_rate=1e-2", "sampling.temperature=1.2"]\n'
    )
    runs = plan(tmp_path, text).runs({})
    assert len(runs) == 8
    config = runs["hot", "token", 0].config
    assert (config.sampling.temperature, config.optimiser.learning_rate) == (1.2, 1e-3)


def test_machines_share_the_seeds(tmp_path):
    first, second = (plan(tmp_path, share=share).runs({}) for share in ("1/2", "2/2"))
    assert {seed for *_, seed in first} == {0} and {seed for *_, seed in second} == {1}


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        (DECLARED, {"share": "3/2"}, UserError, "share: expected a part of the seeds such as 1/2"),
        (DECLARED + '[worlds.w]\noverrides = ["training.stps=3"]\n', {}, ConfigError, "did you mean 'training.steps'"),
        ('config = "embeded"\n' + DECLARED, {}, ConfigError, "name of a preset"),
        (
            DECLARED + "[worlds.w]\noverrides = ['training.evaluation_questions=0']\n", {}, ConfigError,
            r"training\.evaluation_questions above 0",
        ),
        (
            DECLARED + "[tune]\nvalues = [1e-4, 1e-3]\nseeds = [9]\n", {}, ConfigError,
            "arm 'token': expected no optimiser.learning_rate of its own",
        ),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_carried_out_is_refused(tmp_path, text, options, error, message):
    with pytest.raises(error, match=message):
        plan(tmp_path, text, **options)


# ------------------------------------------------------------------------------------------------------------ tuning


TUNED = (
    DECLARED.replace(', "optimiser.learning_rate=1e-3"', "")
    + """
[arms.null]
overrides = ["training.mini_batch_questions=2"]
tuned_as = "turn"
[tune]
values = [1e-4, 2e-4]
seeds = [100, 101]
overrides = ["training.steps=1"]
"""
)


def test_every_arm_is_tuned_with_one_budget_on_seeds_of_its_own(tmp_path):
    made = plan(tmp_path, TUNED)
    runs = made.tuning_runs()
    assert {arm for arm, *_ in runs} == {"turn", "token"}  # The null arm takes the turn's value.
    assert len(runs) == 2 * 2 * 2
    run = runs["token", 2e-4, 101]
    assert run.directory == tmp_path / "out" / "tuning" / "token" / "0.0002" / "seed-101"
    assert (run.config.seed, run.config.optimiser.learning_rate, run.config.training.steps) == (101, 2e-4, 1)


def test_a_setting_of_whole_numbers_can_be_tuned(tmp_path):
    text = TUNED.replace("values = [1e-4, 2e-4]", 'key = "training.epochs"\nvalues = [1, 2]')
    runs = plan(tmp_path, text.replace(', "optimiser.learning_rate=1e-3"', "")).tuning_runs()
    assert [runs["turn", epochs, 100].config.training.epochs for epochs in (1.0, 2.0)] == [1, 2]


def test_the_largest_area_wins_and_a_null_arm_takes_it(tmp_path):
    made = plan(tmp_path, TUNED)
    tried = [TunedValue(arm="turn", value=value, area=area, num_seeds=2) for value, area in ((1e-4, 0.3), (2e-4, 0.5))]
    equal = [TunedValue(arm="token", value=value, area=0.4, num_seeds=2) for value in (2e-4, 1e-4)]
    assert choose(made, [*tried, *equal]) == {"turn": 2e-4, "token": 1e-4, "null": 2e-4}
    unfinished = [each.model_copy(update={"num_seeds": 1}) for each in tried]
    assert choose(made, [*unfinished, *equal]) == {"token": 1e-4}
    assert made.runs({"null": 2e-4})["world", "null", 0].config.optimiser.learning_rate == 2e-4


# -------------------------------------------------------------------------------------------------- runs of real training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of two arms and two seeds that nothing interrupted."""
    made = plan(tmp_path_factory.mktemp("whole"))
    titles: list[str] = []
    carry_out(made, on_done=lambda run: titles.append(run.title))
    report, _ = report_study(made)
    return made, titles, report


def test_a_study_leaves_its_table_and_its_record(whole):
    made, titles, report = whole
    assert titles == ["turn, seed 0", "token, seed 0", "turn, seed 1", "token, seed 1"]
    names = {path.name for path in made.directory.iterdir()}
    assert {"study.toml", "study.json", "table.md", "runs"} <= names
    table = (made.directory / "table.md").read_text()
    assert "4 of 4 runs" in table and "A simulation." in table and "| turn | token | 2 |" in table
    assert [(run.arm, run.seed) for run in report.runs] == [("token", 0), ("token", 1), ("turn", 0), ("turn", 1)]
    assert all(len(run.curve) == 3 and run.measure == "sampled exact match" for run in report.runs)


def test_nothing_is_done_twice(whole):
    made, *_ = whole
    before = {path: path.stat().st_mtime_ns for path in (made.directory / "runs").rglob("*") if path.is_file()}
    again: list[str] = []
    carry_out(made, on_done=lambda run: again.append(run.title))
    assert again == []
    assert {path: path.stat().st_mtime_ns for path in (made.directory / "runs").rglob("*") if path.is_file()} == before


class KilledError(BaseException):
    """What a kill leaves behind: no clean end."""


@pytest.mark.slow
def test_a_killed_study_continues_in_two_processes_as_if_nothing_had_happened(whole, tmp_path):
    made = plan(tmp_path)

    def kill(event) -> None:
        if isinstance(event, StepFinished) and event.step == 1:
            raise KilledError

    with pytest.raises(KilledError):
        carry_out(made, on_event=kill)
    runs = made.runs({})
    half = runs["world", "turn", 0]
    assert num_steps_done(half.directory) == 1 and not is_trained(half)
    carry_out(made, jobs=2)
    assert all(is_trained(run) for run in runs.values())
    for key, run in whole[0].runs({}).items():
        assert rows(runs[key].directory) == rows(run.directory)


def test_two_directories_become_one(whole, tmp_path):
    """Each holds one seed; a run that is finished stays, one that is only begun is replaced."""
    made, _, report = whole
    one, other = tmp_path / "one", tmp_path / "other"
    for place, left_out in ((one, "seed-1"), (other, "seed-0")):
        shutil.copytree(made.directory, place, ignore=shutil.ignore_patterns(left_out))
    begun = one / "runs" / "world" / "turn" / "seed-1"
    shutil.copytree(made.directory / "runs" / "world" / "turn" / "seed-1", begun)
    (begun / "metrics.jsonl").write_text((begun / "metrics.jsonl").read_text().splitlines(keepends=True)[0])
    joined = plan_study(made.file, directory=one)
    assert merge(joined, other) == 2
    assert merge(joined, other) == 0
    found, _ = report_study(joined)
    assert found.runs == report.runs


@pytest.mark.parametrize("busy", ["here", "there"])
def test_no_run_is_merged_while_a_process_is_at_work_in_it(tmp_path, busy):
    """A run under way had been deleted from under its process, or copied in the middle of a step."""
    made, other = plan(tmp_path), tmp_path / "other"
    run = made.runs({})["world", "turn", 0]
    for root, steps in ((made.directory, 1), (other, 2)):
        directory = root / run.directory.relative_to(made.directory)
        directory.mkdir(parents=True)
        write_description(directory, run.config)
        (directory / "metrics.jsonl").write_text("".join(f'{{"step": {step + 1}}}\n' for step in range(steps)))
    shutil.copy(made.file, other / "study.toml")
    at_work = run.directory if busy == "here" else other / run.directory.relative_to(made.directory)
    with hold_run_directory(at_work):
        with pytest.raises(UserError, match=r"at work in .*seed-0|expected to be alone in .*seed-0"):
            merge(made, other)
        assert num_steps_done(run.directory) == 1 and (at_work / ".lock").is_file()
    assert merge(made, other) == 1
    assert num_steps_done(run.directory) == 2
    assert sorted(path.name for path in run.directory.iterdir()) == ["config.toml", "environment.json", "metrics.jsonl"]


def test_a_directory_of_another_study_is_refused(whole, tmp_path):
    made, *_ = whole
    other = plan_study(write(tmp_path, DECLARED.replace('"tiny"', '"other"')), directory=made.directory)
    with pytest.raises(UserError, match="found another in"):
        carry_out(other)
    with pytest.raises(UserError, match=r"expected a directory of the study 'tiny' with a study\.toml"):
        merge(made, tmp_path)


def test_a_run_of_other_settings_is_refused(whole, tmp_path):
    made, *_ = whole
    changed = write(tmp_path, DECLARED.replace("training.steps=2", "training.steps=3"))
    with pytest.raises(UserError, match="to have the settings of this plan, but it has others"):
        carry_out(plan_study(changed, directory=made.directory))
    write(tmp_path)  # The file that the directory keeps is that of its last call.
    carry_out(plan_study(tmp_path / "study.toml", directory=made.directory))


def test_a_table_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected a finished run"):
        report_study(plan(tmp_path))


def test_a_study_is_a_simulation_where_any_arm_is_one(tmp_path, monkeypatch):
    def read(plan, key, run):
        world, arm, seed = key
        return RunFigures(
            world=world, arm=arm, seed=seed, measure="exact match", result=0.5, greedy=None, area=0.5, collapsed=False,
            minutes_to_threshold=None, trajectories_to_threshold=None, pass_all=None, flip_rate=None, minutes=1.0,
            curve=((0, 0.5),), update={}, revision=None,
        )  # fmt: skip

    monkeypatch.setattr("workflow_r1.running.study.is_trained", lambda run: True)
    monkeypatch.setattr("workflow_r1.running.study._read", read)
    (tmp_path / "out").mkdir()
    for arm, expected in (("gsspo", True), ("grpo", True), ("gspo", False)):
        monkeypatch.setattr(
            "workflow_r1.running.simulation.is_simulated", lambda config, arm=arm: config.objective.preset == arm
        )
        report, _ = report_study(plan(tmp_path))
        assert report.simulation is expected


def test_the_cost_is_that_of_the_seeds_of_this_machine_and_of_the_whole_tuning(tmp_path, monkeypatch):
    cost = RunCost(world="", arm="", step=1, evaluation=1, rest=1, num_steps=1, num_evaluations=1, num_runs=0)
    monkeypatch.setattr("workflow_r1.running.study_estimate._measure", lambda run, config: cost)
    text = TUNED.replace("seeds = 2", "seeds = 5")
    costs = {
        share: [each.num_runs for each in estimate_study(plan(tmp_path, text, share=share))] for share in ("1/1", "1/2")
    }
    # Two arms are tuned with two values on two seeds, by every machine; the null arm is not.
    assert costs == {"1/1": [5 + 4, 5 + 4, 5], "1/2": [3 + 4, 3 + 4, 3]}


@pytest.mark.parametrize(("version", "expected"), [(0, 4.0), (2, 3.0)])
def test_an_evaluation_that_asked_nothing_again_is_no_measure_of_one(tmp_path, monkeypatch, version, expected):
    """Where the step taught nothing, the weights have answered the questions before."""

    def train(run):
        run.directory.mkdir(parents=True)
        write_description(run.directory, run.config)
        seconds = [4.0, 0.0 if version == 0 else 2.0]
        row = {"step": 1, "policy_version": version, "time/step_seconds": 1.0}
        (run.directory / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        rows = [{"step": step, "time/evaluation_seconds": each} for step, each in enumerate(seconds)]
        (run.directory / "evaluations.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))

    monkeypatch.setattr("workflow_r1.running.study_estimate.train_run", train)
    for cost in estimate_study(plan(tmp_path)):
        assert cost.evaluation / cost.step == pytest.approx(expected)


def test_the_cost_is_that_of_one_step_scaled_up(tmp_path):
    text = DECLARED.replace("seeds = 2", "seeds = 5").replace("training.steps=2", "training.steps=20")
    one, other = estimate_study(plan(tmp_path, text))
    assert (one.arm, other.arm) == ("turn", "token")
    # Before the first step, and after each.
    assert (one.num_steps, one.num_evaluations, one.num_runs) == (20, 21, 5)
    assert one.step > 0 and one.evaluation > 0
    assert total_minutes([one]) == pytest.approx(5 * (one.rest + 20 * one.step + 21 * one.evaluation) / 60)
    assert not (tmp_path / "out").exists()
