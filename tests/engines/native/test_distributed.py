import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_rows import rows

from workflow_r1.errors import BudgetExceededError, ConfigError, ProcessLostError, ServiceTimeoutError
from workflow_r1.policy.distributed import (
    Ranks,
    _buckets,
    _Told,
    is_told_by_all,
    joined,
    lost_process_explained,
)
from workflow_r1.trajectory import load_trajectories

SCRIPT = Path(__file__).with_name("ranks_run.py")

TOLERANCE = 2e-5
"""Relative tolerance of figures: the sampler's batches and the update's passes have other shapes.

Their float32 products round differently, and four steps of training carry it on.
"""


def start(num, *arguments):
    """Run the script in so many processes; returns them, ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(num), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared |= {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num)
    ]
    try:
        return [(process.communicate(timeout=400)[1], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()


def run(num, *arguments):
    for errors, code in start(num, *arguments):
        assert code == 0, errors


def assert_same_run(one, other):
    """The same trajectories, token for token; log-probabilities and figures within the tolerance."""
    mine, theirs = (load_trajectories(directory / "trajectories.jsonl") for directory in (one, other))
    assert [t.id for t in mine] == [t.id for t in theirs]
    for left, right in zip(mine, theirs, strict=True):
        assert [turn.token_ids for turn in left.turns] == [turn.token_ids for turn in right.turns]
        assert left.reward == right.reward
        for a, b in zip(left.turns, right.turns, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, rel=1e-3, abs=1e-4)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        for left, right in zip(rows(one, name), rows(other, name), strict=True):
            assert left.keys() == right.keys()
            # Differences of nearly equal numbers (sampler against trainer, ratio against 1) have no relative precision.
            unknown = {key for key, value in right.items() if value is None}
            assert {key for key, value in left.items() if value is None} == unknown
            left, right = ({k: v for k, v in row.items() if k not in unknown} for row in (left, right))
            # One token's log-ratio, the largest of all, holds a single logit's rounding undiluted.
            assert left.pop("update/token_move_max", 0.0) == pytest.approx(
                right.pop("update/token_move_max", 0.0), rel=1e-3
            )
            assert left == pytest.approx(right, rel=TOLERANCE, abs=TOLERANCE)
    services = [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in rows(d, "services.jsonl")]
        for d in (one, other)
    ]
    assert services[0] == services[1]


@pytest.fixture(scope="module")
def alone(warm_directory, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "alone"
    run(1, "train", warm_directory, directory, "none")
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_train_as_one_does(alone, warm_directory, tmp_path, sharding):
    run(2, "train", warm_directory, tmp_path / "run", sharding)
    assert_same_run(tmp_path / "run", alone)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(path.name for path in alone.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after", "sharding"), [(2, 1, "full"), (1, 2, "full"), (2, 2, "none")])
def test_a_killed_run_resumes_in_any_number_of_processes(alone, warm_directory, tmp_path, before, after, sharding):
    """Step 3 is on the disk but after the last checkpoint where one process was killed; two lose it altogether."""
    arguments = ("train", warm_directory, tmp_path / "run", sharding)
    if before == 2:
        (errors, code), (_, killed) = start(2, *arguments, "kill=4")
        assert (code, killed) == (1, -signal.SIGKILL)
        assert "ProcessLostError: the other processes of the run are not all there any more" in errors
        assert [row["step"] for row in rows(tmp_path / "run")] == [0, 1, 2, 3]
    else:
        run(1, *arguments)
        for path in (tmp_path / "run" / "checkpoints").glob("step-000004/*"):
            path.write_bytes(b"")
    run(after, *arguments, "resume")
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.slow
def test_adapters_of_a_sharded_tied_model_are_saved_as_they_act(warm_directory, tmp_path):
    """The saved policy is compared with the live one before it is kept; here that happens while the live one is in parts."""
    run(2, "train", warm_directory, tmp_path / "run", "full", "lora")
    assert not json.loads((tmp_path / "run" / "policy" / "config.json").read_text())["tie_word_embeddings"]


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_gradient_loss_and_metrics_of_two_processes_are_those_of_one(model_directory, tmp_path, sharding):
    run(1, "gradient", model_directory, tmp_path / "one.pt", sharding)
    run(2, "gradient", model_directory, tmp_path / "two.pt", sharding)
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert one["gradients"].keys() == two["gradients"].keys()
    for kind in ("gradients", "weights"):
        for name, value in one[kind].items():
            assert value.dtype == torch.float64
            torch.testing.assert_close(two[kind][name], value, rtol=1e-10, atol=1e-10, msg=f"{kind} {name}")
    assert max(value.abs().max() for value in one["gradients"].values()) > 1e-4
    assert (two["loss"], two["kl_loss"]) == pytest.approx((one["loss"], one["kl_loss"]), rel=1e-12)
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-6)


def test_alone_nothing_is_shared_and_nobody_is_waited_for():
    ranks = Ranks()
    assert ranks.is_main
    assert ranks.share("abc") == ranks.gather_shares(["a", "b", "c"]) == ["a", "b", "c"]
    assert (ranks.gather(3), ranks.from_main(3), ranks.any(True), ranks.any(False)) == ([3], 3, True, False)
    assert ranks.tally() is None
    tensor = torch.ones(2)
    ranks.add_([tensor])
    assert tensor.tolist() == [1.0, 1.0]
    with pytest.raises(ServiceTimeoutError) as raised, ranks.agreeing():
        raise ServiceTimeoutError("late")
    assert not is_told_by_all(raised.value)


class Gathered(Ranks):
    """A process whose exchanges are written down beforehand."""

    def __init__(self, rank, others):
        super().__init__(rank, len(others) + 1)
        self.others = others

    def gather(self, value):
        return [*self.others[: self.rank], value, *self.others[self.rank :]]


def test_shares_come_back_in_the_order_of_the_list():
    items = list(range(7))
    ranks = [Gathered(rank, [items[r::3] for r in range(3) if r != rank]) for rank in range(3)]
    assert sorted(item for one in ranks for item in one.share(items)) == items
    for one in ranks:
        assert one.gather_shares(one.share(items)) == items


def test_what_one_raises_all_raise():
    budget = BudgetExceededError("used up", key="budget.calls", limit=5)
    told = pickle.loads(pickle.dumps(_Told.of(budget)))
    with pytest.raises(BudgetExceededError, match="used up") as raised, Gathered(0, [told]).agreeing():
        pass
    assert (raised.value.key, raised.value.limit) == ("budget.calls", 5)
    assert is_told_by_all(raised.value)
    with pytest.raises(BudgetExceededError) as raised, Gathered(1, [None]).agreeing():
        raise budget
    assert is_told_by_all(raised.value)
    again = ServiceTimeoutError("with advice")
    again.__cause__ = raised.value
    assert is_told_by_all(again)
    with pytest.raises(ZeroDivisionError), Gathered(1, [None]).agreeing():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "text",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:41285",
        "Rank 1 failed to pass monitoredBarrier in 1800000 ms",
        "[Rank 0]: Ranks 1 failed to pass monitoredBarrier in 2000 ms",
    ],
)
def test_a_lost_process_is_told_from_a_bug(text):
    with pytest.raises(ProcessLostError, match="one has died or stopped answering"), lost_process_explained():
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="shape"), lost_process_explained():
        raise RuntimeError("mat1 and mat2 shape cannot be multiplied")


def test_buckets_hold_every_tensor_once_and_one_type_each(monkeypatch):
    monkeypatch.setattr("workflow_r1.policy.distributed.BUCKET_ELEMENTS", 5)
    tensors = [torch.zeros(2), torch.zeros(3), torch.zeros(1), torch.zeros(9), torch.zeros(1, dtype=torch.float64)]
    cut = list(_buckets(tensors))
    assert [[t.numel() for t in bucket] for bucket in cut] == [[2, 3], [1], [9], [1]]


def test_several_processes_cannot_share_one_named_gpu(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    shared = joined("cuda:0", timeout_minutes=1.0)
    with pytest.raises(ConfigError, match="cannot be shared by several processes"), shared:
        pass
