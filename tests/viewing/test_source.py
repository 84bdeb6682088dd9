"""Directories that are looked at: growing, damaged, incomplete, going away."""

import gzip
import json
import shutil
from pathlib import Path

import pytest
from viewed_runs import make_evaluation, make_run, make_trajectory, trajectories_of, write_step

from workflow_r1.errors import DataError
from workflow_r1.recording.run_files import RunFiles
from workflow_r1.trajectory import append_trajectories
from workflow_r1.trajectory.storage import to_json_line
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Source


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_a_run_is_read_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    (tmp_path / "run" / "trajectories.index.jsonl.gz").unlink()
    before = files_of(tmp_path)
    reading = Reading([Source(tmp_path / "run")])
    assert reading.state()[0]["rows"] == [24]
    assert reading.summary(0)["problems"] == []
    assert reading.trajectories(0, [(0, 0)])[0]["question"]["text"] == "Where was the director of film 0 born?"
    assert files_of(tmp_path) == before


def test_what_a_run_grows_by_is_read(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", steps=1)
    source = Source(tmp_path / "run")
    state = source.state()
    assert not source.refresh()
    write_step(files, 2)
    assert source.refresh()
    assert source.state() != state
    assert [row.step for row in source.all_rows()] == [1] * 8 + [2] * 8
    assert source.generation == 0


def test_a_run_that_is_cut_back_begins_a_new_generation(tmp_path: Path) -> None:
    files = make_run(tmp_path / "run", steps=1)
    lengths = files.lengths()
    write_step(files, 2)
    source = Source(tmp_path / "run")
    files.cut_back(lengths)
    other = [each.model_copy(update={"id": f"{each.id}-again"}) for each in trajectories_of(2, questions=3)]
    files.append_trajectories(other, step=2)
    source.refresh()
    assert source.generation == 1
    assert len(source.all_rows()) == 8 + 12


def test_a_damaged_line_and_another_version_cost_their_rows_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run, steps=1)
    (run / "trajectories.jsonl.gz").unlink()
    (run / "trajectories.index.jsonl.gz").unlink()
    good = [to_json_line(each) for each in trajectories_of(1)]
    newer = json.dumps(json.loads(good[0]) | {"schema_version": 99}) + "\n"
    (run / "trajectories.jsonl").write_text("".join([good[0], '{"id": 3\n', newer, good[1], good[2][:50]]))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('not JSON\n{"step": 2, "rollout/reward": 0.5}\n{"step": 3, "rollo')
    source = Source(run)
    assert len(source.all_rows()) == 2
    reading = Reading([source])
    first, metrics = reading.summary(0)["problems"]
    assert "2 parts cannot be read" in first
    assert "the last row is cut off" in first
    assert metrics == "metrics.jsonl: 1 line cannot be read, the first is 2"
    assert reading.summary(0)["metrics"]["step"] == [1, 2]


def test_alarms_are_read_and_a_damaged_line_costs_itself_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run)
    with (run / "alarms.jsonl").open("a") as file:
        file.write("not JSON\n")
    (alarm,) = Reading([Source(run)]).summary(0)["alarms"]
    assert (alarm["step"], alarm["title"], alarm["until"]) == (2, "nothing to learn from", None)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run)
    (run / "config.toml").unlink()
    (run / "environment.json").write_text("{")
    summary = Reading([Source(run)]).summary(0)
    assert summary["problems"][0] == "no config.toml: the run's configuration is unknown"
    assert summary["problems"][1].startswith("environment.json is not JSON")
    assert len(summary["metrics"]["step"]) == 3


def test_a_run_without_trajectories_shows_its_curves(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run)
    for path in run.glob("trajectories*"):
        path.unlink()
    reading = Reading([Source(run)])
    assert reading.summary(0)["problems"] == ["no trajectories yet: this directory holds no trajectories.jsonl"]
    assert reading.summary(0)["metrics"]["series"]["rollout/exact_match"] == [0.25, 0.5, 0.75]


def test_a_run_that_is_deleted_keeps_its_list(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make_run(run)
    reading = Reading([Source(run)])
    reading.summary(0)
    shutil.rmtree(run)
    reading.sources[0].refresh()
    assert len(reading.sources[0].all_rows()) == 24
    assert "is gone" in reading.sources[0].problems[0]
    assert "unreadable" in reading.trajectories(0, [(0, 3)])[0]
    assert reading.search(0, "spielberg", 0, 0) == {"found": [], "next": None, "generation": 0}
    assert [problem.partition(" is gone")[0] for problem in reading.summary(0)["problems"]] == [
        str(run / "trajectories.jsonl.gz")
    ]
    assert len(reading.summary(0)["metrics"]["step"]) == 3


def test_an_evaluation_has_a_file_for_each_method(tmp_path: Path) -> None:
    make_evaluation(tmp_path / "evaluation", right={"direct": 1, "policy": 3})
    source = Source(tmp_path / "evaluation")
    assert source.kind == "evaluation"
    assert [file.label for file in source.files] == ["direct / films", "policy / films"]
    assert len(source.all_rows()) == 8


def test_a_single_file_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl.gz"
    append_trajectories(path, [make_trajectory(step=None)])
    reading = Reading([Source(path)])
    assert reading.state()[0]["kind"] == "file"
    assert reading.summary(0)["problems"] == []
    assert gzip.decompress(path.read_bytes()).count(b"\n") == 1


def test_another_directory_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"holds notes\.txt"):
        Source(tmp_path)
    with pytest.raises(DataError, match="found nothing"):
        Source(tmp_path / "nowhere")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        make_run(tmp_path / folder / "run", steps=1)
    reading = Reading([Source(tmp_path / folder / "run") for folder in ("one", "two")])
    assert [state["title"] for state in reading.state()] == ["one/run", "two/run"]


def test_an_address_with_a_login_is_shown_without_it(tmp_path: Path) -> None:
    make_run(tmp_path / "run", steps=1)
    with (tmp_path / "run" / "config.toml").open("a") as file:
        file.write('\n[llm]\nbase_url = "http://me:secret@host/v1?api_key=hidden"\n')
    config = Reading([Source(tmp_path / "run")]).summary(0)["config"]
    assert "secret" not in config
    assert "hidden" not in config
    assert "http://host/v1" in config


def test_only_runs_that_differ_in_their_seed_are_of_a_kind(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / str(seed), steps=1, seed=seed)
    make_run(tmp_path / "other", steps=1)
    config = tmp_path / "other" / "config.toml"
    config.write_text(config.read_text().replace("group_size = 4", "group_size = 8"))
    reading = Reading([Source(tmp_path / name) for name in ("0", "1", "other")])
    one, two, other = (reading.summary(number)["same_but_seed"] for number in range(3))
    assert one == two != other


def test_a_process_at_work_is_seen_by_its_word(tmp_path: Path) -> None:
    from workflow_r1.recording.run_lock import hold_run_directory

    make_run(tmp_path / "run", steps=1)
    source = Source(tmp_path / "run")
    assert not source.is_at_work
    with hold_run_directory(tmp_path / "run"):
        assert source.is_at_work
    assert not source.is_at_work
    assert isinstance(RunFiles(tmp_path / "run", resume=True), RunFiles)
