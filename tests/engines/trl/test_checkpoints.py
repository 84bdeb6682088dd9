import json

import pytest

from workflow_r1.config import load_run_config
from workflow_r1.engines.trl.checkpoints import PROGRESS, Progress, newest_complete
from workflow_r1.errors import CheckpointError


@pytest.fixture
def config():
    return load_run_config("embedded", ["engine=trl"])


def test_progress_comes_back(tmp_path, config):
    progress = Progress(
        config=config.model_dump(mode="json"),
        file_lengths={"metrics.jsonl": 7},
        training_seconds=1.5,
        watched={"a": 0.5},
    )
    progress.write(tmp_path)
    assert Progress.read(tmp_path, config.model_dump(mode="json")) == progress


@pytest.mark.parametrize("text", ["", "{", "[]", '{"file_lengths": {"metrics.jsonl": "long"}}', '{"watched": 3}'])
def test_damaged_progress_is_one_line(tmp_path, config, text):
    (tmp_path / PROGRESS).write_text(text)
    with pytest.raises(CheckpointError, match="cannot be read as such") as caught:
        Progress.read(tmp_path, config.model_dump(mode="json"))
    assert "\n" not in str(caught.value)


def test_another_configuration_is_refused_by_key(tmp_path, config):
    values = config.model_dump(mode="json")
    values["seed"], values["policy"]["threads"] = 7, 9
    (tmp_path / PROGRESS).write_text(json.dumps({"config": values}))
    with pytest.raises(CheckpointError, match="but seed differ"):
        Progress.read(tmp_path, config.model_dump(mode="json"))


def test_incomplete_checkpoints_are_set_aside(tmp_path):
    for number in (2, 4, 10):
        (tmp_path / f"checkpoint-{number}").mkdir()
    assert newest_complete(tmp_path / "absent", clean=True) is None
    for number in (2, 4):
        (tmp_path / f"checkpoint-{number}" / PROGRESS).write_text("{}")
    assert newest_complete(tmp_path, clean=True) == tmp_path / "checkpoint-4"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".unfinished-checkpoint-10",
        "checkpoint-2",
        "checkpoint-4",
    ]
