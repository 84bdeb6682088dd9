import errno
import os
import random

import numpy as np
import pytest
import torch

from workflow_r1.config.training import OptimiserConfig
from workflow_r1.engines.native.checkpoint import CheckpointStore, Progress
from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.errors import CheckpointError, UserError
from workflow_r1.recording.events import CheckpointSaved, Warned

CONFIGURATION = {"seed": 0, "training": {"steps": 5, "group_size": 8}}


def step(model, optimiser, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimiser.step()


@pytest.fixture
def parts(model_maker, tmp_path):
    """Return a function that makes a fresh model, optimiser and store of the same run, and the events."""
    events = []

    def make(configuration=CONFIGURATION, seed=0):
        model = model_maker(seed)
        optimiser = build_optimiser(model, OptimiserConfig(), learning_rate=1e-3)
        store = CheckpointStore(tmp_path / "checkpoints", configuration, keep=2, on_event=events.append)
        return model, optimiser, store

    return make, events, tmp_path / "checkpoints"


def test_everything_comes_back(parts):
    make, events, directory = parts
    model, optimiser, store = make()
    step(model, optimiser, seed=1)
    progress = Progress(
        3, num_drawn=24, policy_version=6, training_seconds=1.5, file_lengths={"a": 7}, watched={"b": 0.5}
    )
    path = store.save(progress, model, optimiser)
    assert events == [CheckpointSaved(3, path)] and path == directory / "step-000003"
    drawn = torch.rand(3), random.random(), np.random.rand()

    other, other_optimiser, other_store = make(seed=9)
    assert other_store.load_latest(other, other_optimiser) == progress
    again = torch.rand(3), random.random(), np.random.rand()
    assert torch.equal(drawn[0], again[0]) and drawn[1:] == again[1:]
    step(model, optimiser, seed=2)
    step(other, other_optimiser, seed=2)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_no_checkpoint_yet(parts):
    model, optimiser, store = parts[0]()
    assert store.load_latest(model, optimiser) is None


def test_only_the_newest_stay(parts):
    make, _, directory = parts
    model, optimiser, store = make()
    for number in (1, 2, 3):
        store.save(Progress(number), model, optimiser)
    assert sorted(path.name for path in directory.iterdir()) == ["step-000002", "step-000003"]


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "state"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(parts, damage):
    make, events, directory = parts
    model, optimiser, store = make()
    store.save(Progress(1), model, optimiser)
    store.save(Progress(2), model, optimiser)
    weights = directory / "step-000002" / "weights.safetensors"
    if damage == "cut":
        os.truncate(weights, 100)
    elif damage == "flip":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        (directory / "step-000002" / "tensors.pt").unlink()
    else:
        state = directory / "step-000002" / "state.json"
        state.write_text(state.read_text().replace('"step": 2', '"step": 7'))
    assert store.load_latest(model, optimiser) == Progress(1)
    assert isinstance(events[-1], Warned) and "damaged" in events[-1].message


def test_all_damaged_is_an_error(parts):
    make, _, directory = parts
    model, optimiser, store = make()
    store.save(Progress(1), model, optimiser)
    (directory / "step-000001" / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match="all 1 are damaged"):
        store.load_latest(model, optimiser)


def test_another_configuration_is_refused_by_key(parts):
    make, _, _ = parts
    model, optimiser, store = make()
    store.save(Progress(1), model, optimiser)
    changed = {"seed": 1, "training": {"steps": 50, "group_size": 4}}
    with pytest.raises(CheckpointError) as error:
        make(changed)[2].load_latest(model, optimiser)
    message = str(error.value)
    assert "seed: 0 in the checkpoint, 1 now" in message
    assert "training.group_size: 8 in the checkpoint, 4 now" in message
    assert "training.steps" not in message
    longer = {"seed": 0, "training": {"steps": 50, "group_size": 8}}
    assert make(longer)[2].load_latest(model, optimiser) == Progress(1)


def test_another_model_is_refused(parts):
    make, _, _ = parts
    model, optimiser, store = make()
    store.save(Progress(1), model, optimiser)
    other = torch.nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="another model"):
        store.load_latest(other, torch.optim.AdamW(other.parameters()))


def test_a_full_disk_leaves_what_was_there(parts, monkeypatch):
    make, _, directory = parts
    model, optimiser, store = make()
    store.save(Progress(1), model, optimiser)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full"):
        store.save(Progress(2), model, optimiser)
    with pytest.raises(UserError, match="disk is full"):
        store.save(Progress(1), model, optimiser)
    monkeypatch.undo()
    assert [path.name for path in directory.iterdir()] == ["step-000001"]
    assert store.load_latest(model, optimiser) == Progress(1)


def test_what_a_killed_process_left_is_cleared(parts):
    make, _, directory = parts
    model, optimiser, store = make()
    (directory / ".unfinished-abc").mkdir(parents=True)
    store.save(Progress(1), model, optimiser)
    assert [path.name for path in directory.iterdir()] == ["step-000001"]
