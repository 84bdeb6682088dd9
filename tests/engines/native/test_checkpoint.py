import errno
import hashlib
import json
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


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_checkpoint_takes_no_place_of_a_sound_one(parts, keep):
    """A run that resumed from step 1 saves steps before that of the damaged one, which is still the last by its name."""
    make, _, directory = parts
    model, optimiser, store = make()
    for number in (1, 9):
        store.save(Progress(number), model, optimiser)
    (directory / "step-000009" / "tensors.pt").unlink()
    store = CheckpointStore(directory, CONFIGURATION, keep=keep, on_event=lambda event: None)
    for number in (2, 3):
        store.save(Progress(number), model, optimiser)
    sound = {f"step-{number:06d}" for number in (2, 3)[-keep:]}
    assert {path.name for path in directory.iterdir()} == {*sound, "step-000009"}
    assert store.load_latest(model, optimiser) == Progress(3)


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


def crafted(path, change):
    """Change a checkpoint's state and make its checksums right again, as whoever crafts one would."""
    document = json.loads((path / "state.json").read_text())
    state = document["state"]
    change(state)
    for name in state.get("checksums", {}):
        state["checksums"][name] = hashlib.sha256((path / name).read_bytes()).hexdigest()
    body = json.dumps(state, sort_keys=True)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    (path / "state.json").write_text(json.dumps({"checksum": checksum, "state": state}))


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("progress"),
        lambda state: state["progress"].update(step="many"),
        lambda state: state["progress"].update(step=7),
        lambda state: state["progress"].update(file_lengths={"metrics.jsonl": "long"}),
        lambda state: state.update(configuration=None),
        lambda state: state.update(checksums={}),
        lambda state: state.update(python_random=[3, [1], None]),
        lambda state: state.update(numpy_random=["MT19937"]),
    ],
)
def test_a_state_that_does_not_make_sense_gives_way(parts, change):
    make, events, _ = parts
    model, optimiser, store = make()
    step(model, optimiser, seed=1)
    store.save(Progress(1), model, optimiser)
    crafted(store.save(Progress(2), model, optimiser), change)
    other, other_optimiser, other_store = make(seed=9)
    progress = other_store.load_latest(other, other_optimiser)
    assert progress is not None and progress.step == 1
    assert "damaged" in events[-1].message


@pytest.mark.parametrize("damage", ["no tensors", "other moments", "not a checkpoint", "no state of the optimiser"])
def test_tensors_that_do_not_fit_give_way(parts, damage):
    make, events, _ = parts
    model, optimiser, store = make()
    step(model, optimiser, seed=1)
    store.save(Progress(1), model, optimiser)
    path = store.save(Progress(2), model, optimiser)
    tensors = torch.load(path / "tensors.pt", weights_only=True)
    if damage == "no tensors":
        (path / "weights.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    elif damage == "not a checkpoint":
        (path / "tensors.pt").write_bytes(b"PK\x03\x04 and no more")
    elif damage == "other moments":
        tensors["optimiser"]["state"][0]["exp_avg"] = torch.zeros(3, 3)
        torch.save(tensors, path / "tensors.pt")
    else:
        del tensors["optimiser"]
        torch.save(tensors, path / "tensors.pt")
    crafted(path, lambda state: None)
    other, other_optimiser, other_store = make(seed=9)
    if damage == "no tensors":
        with pytest.raises(CheckpointError, match="weights of another model"):
            other_store.load_latest(other, other_optimiser)
        return
    progress = other_store.load_latest(other, other_optimiser)
    assert progress is not None and progress.step == 1
    assert "damaged" in events[-1].message
    step(model, optimiser, seed=2)
    step(other, other_optimiser, seed=2)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
