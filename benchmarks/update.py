"""Update tokens per second against two limits, in float32 and bfloat16.

    python benchmarks/update.py [--model DIRECTORY] [--run RUN_DIRECTORY] [--threads 1]

The rows are those of the first step of a run (``--run``), or made up as ragged as the quickstart's: prompts that a group
shares, first turns that some of its trajectories share, and trajectories that occur twice.

* The limit of the rows is a plain forward and backward pass over the same tokens, in rows of one length without padding,
  with a summed cross entropy where the policy wrote, at the best of several batch sizes.
* The limit of the work does the same with every shared beginning once: no update can be faster.

The update works as in training: cut into passes, log-probabilities, objective, metrics, clipping, AdamW. Tokens are those
of the rows, padding never counts. Every round times all, one after the other, and the medians of CPU time are compared:
on a machine that others use too, wall time measures them. On a GPU it is wall time.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from ratios import note
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.engines.native.update import PolicyUpdate
from workflow_r1.policy.forward import autocast, decoder_and_head
from workflow_r1.policy.model import resolve_device
from workflow_r1.policy.packing import PackedBatch, pack
from workflow_r1.policy.prefix_trees import prefix_trees
from workflow_r1.trajectory import (
    AnswerReward,
    Question,
    ScoredTrajectory,
    StopReason,
    Trajectory,
    Turn,
    load_trajectories,
)

GROUP_SIZE = 8
Groups = list[list[Trajectory]]


@dataclass(frozen=True)
class Stream:
    """Tokens without rows, and how many of them the policy wrote."""

    ids: list[int]
    num_policy: int
    num_rows: int


def main() -> None:
    """Time all and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="directory of a causal LM; without it a random 2M-parameter Llama")
    parser.add_argument("--run", type=Path, help="a run directory whose first step gives the rows; its model must fit")
    parser.add_argument("--trajectories", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--ratios", type=Path, help="file to which the ratios are appended")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    model = load_model(arguments.model).to(device).eval()
    if arguments.run is None:
        groups = make_groups(arguments.trajectories, model.config.vocab_size)
    else:
        groups = in_groups(islice(load_trajectories(arguments.run / "trajectories.jsonl"), arguments.trajectories))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters / 1e6:.1f}M parameters, {arguments.threads} thread(s), {device}")
    for precision in arguments.precisions:
        compare(model, groups, precision, rounds=arguments.rounds, ratios=arguments.ratios)


def compare(
    model: LlamaForCausalLM, groups: Groups, precision: str, *, rounds: int, ratios: Path | None = None
) -> None:
    """Time update and limits in one precision, and print them."""
    device = next(model.parameters()).device
    one, two = (make_update(model, precision, mini_batches=count, num_groups=len(groups)) for count in (1, 2))
    groups = sampled_by(one, groups)
    (mini_batch,) = one.mini_batches(groups)
    rows, work = streams(mini_batch.batch, model.config.hidden_size)
    print(
        f"{precision}: {mini_batch.batch.num_rows} rows with an advantage, {len(rows.ids)} tokens, {rows.num_policy} of them "
        f"the policy's; each beginning once: {len(work.ids)} and {work.num_policy}"
    )
    candidates: dict[str, Callable[[], object]] = {
        **{
            f"limit of the {name}, {size} rows": (
                lambda stream=stream, size=size: plain(model, stream, size, precision)  # type: ignore[misc]
            )
            for name, stream in (("rows", rows), ("work", work))
            for size in (4, 8, 16)
        },
        "update, one mini-batch": lambda: one.step(groups, policy_version=0),
        "update, two mini-batches": lambda: two.step(groups, policy_version=0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, run in candidates.items():
            before = clock(device)
            run()
            if number:  # The first round warms up.
                seconds[name].append(clock(device) - before)
    speeds = {name: len(rows.ids) / statistics.median(values) for name, values in seconds.items()}
    limits = [max(speed for name, speed in speeds.items() if f"of the {kind}" in name) for kind in ("rows", "work")]
    for name, speed in speeds.items():
        of_rows, of_work = (speed / limit for limit in limits)
        print(f"  {name:26s} {speed:9.0f} tokens/s   {of_rows:5.2f} of the rows' limit   {of_work:5.2f} of the work's")
    for limit, kind in zip(limits, ("rows", "work"), strict=True):
        best = seconds[next(name for name, speed in speeds.items() if speed == limit)]
        for name, values in seconds.items():
            if name.startswith("update"):
                each = [theirs / ours for theirs, ours in zip(best, values, strict=True)]
                note(ratios, f"{name}, {precision}", each, to=f"plain forward and backward of the {kind}, no padding")


def load_model(directory: Path | None) -> LlamaForCausalLM:
    """Return the model to be timed."""
    torch.manual_seed(0)
    if directory is not None:
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa")
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1930,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            tie_word_embeddings=True,
        )
    )


def streams(batch: PackedBatch, hidden_size: int) -> tuple[Stream, Stream]:
    """Return the tokens of all rows, and those of their trees."""
    rows = [ids[:length] for ids, length in zip(batch.input_ids.tolist(), batch.lengths.tolist(), strict=True)]
    written = (batch.turn_ids > 0).tolist()
    trees = prefix_trees(rows, hidden_size=hidden_size)
    nodes = sum(
        len(
            {node for row, path in tree.paths.items() for node, wrote in zip(path, written[row], strict=False) if wrote}
        )
        for tree in trees
    )
    return (
        Stream([token for row in rows for token in row], int((batch.turn_ids > 0).sum()), len(rows)),
        Stream([token for tree in trees for token in tree.input_ids], nodes, len(trees)),
    )


def make_groups(num: int, vocabulary: int) -> Groups:
    """Return groups of scored trajectories of 60 to 300 tokens in 1 to 5 turns; about half are the policy's.

    A group has one prompt; a third of the trajectories repeat another one, and some begin with its first turn.
    """
    generator = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(generator.randrange(5, vocabulary) for _ in range(generator.randint(low, high)))

    def turns(number: int) -> list[Turn]:
        made = []
        for index in range(1, number + 1):
            tokens = ids(12, 32)
            made.append(
                Turn(
                    index=index,
                    text="",
                    token_ids=tokens,
                    logprobs=(-1.0,) * len(tokens),
                    context_token_ids=ids(8, 28),
                    well_formed=True,
                )
            )
        return made

    trajectories: list[Trajectory] = []
    for index in range(num):
        place = index % GROUP_SIZE
        prompt = ids(25, 45) if place == 0 else trajectories[-1].prompt_token_ids
        own = turns(generator.randint(1, 5))
        if place:
            other = list(generator.choice(trajectories[-place:]).turns)
            draw = generator.random()
            shared = len(other) if draw < 0.32 else 1 if draw < 0.5 else 0
            own = other if shared == len(other) else [*other[:shared], *own[shared:]]
        reward = float(generator.random() < 0.5)
        trajectory = Trajectory(
            id=str(index),
            group_id=str(index // GROUP_SIZE),
            question=Question(id=str(index // GROUP_SIZE), text="?", golden_answers=("x",)),
            prompt_token_ids=prompt,
            turns=tuple(own),
            stop_reason=StopReason.ANSWERED,
        )
        scored = AnswerReward(total=reward, answer=reward, format=0.0, exact_match=reward, f1=reward)
        trajectories.append(ScoredTrajectory(**dict(trajectory), reward=scored))
    return in_groups(iter(trajectories))


def in_groups(trajectories: Iterator[Trajectory]) -> Groups:
    """Return the trajectories by group."""
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group_id, []).append(trajectory)
    return list(groups.values())


def sampled_by(update: PolicyUpdate, groups: Groups) -> Groups:
    """Return the groups with the model's own log-probabilities, as if it had sampled them."""
    (mini_batch,) = update.mini_batches(groups)
    values = dict(zip(map(repr, mini_batch.batch.input_ids.tolist()), update.logprobs(mini_batch.batch), strict=True))
    width = mini_batch.batch.input_ids.shape[1]

    def renewed(trajectory: Trajectory) -> Trajectory:
        batch = pack([trajectory])
        padding = width - batch.input_ids.shape[1]
        row = values.get(repr(batch.input_ids[0].tolist() + [0] * padding)) if padding >= 0 else None
        if row is None:  # Its group's rewards are equal: it is not learned from.
            return trajectory
        turns = [
            turn.model_copy(
                update={"logprobs": tuple(row[: -padding or None][batch.turn_ids[0] == turn.index].tolist())}
            )
            for turn in trajectory.turns
        ]
        return trajectory.model_copy(update={"turns": tuple(turns)})

    return [[renewed(trajectory) for trajectory in group] for group in groups]


def make_update(model: LlamaForCausalLM, precision: str, *, mini_batches: int, num_groups: int) -> PolicyUpdate:
    """Return an update of a model that learns too slowly to change while it is timed."""
    config = RunConfig.model_validate(
        {
            "objective": {"kl_coefficient": 0.0},
            "optimiser": {"learning_rate": 1e-12, "precision": precision},
            "training": {"mini_batch_questions": -(-num_groups // mini_batches)},
        }
    )
    return PolicyUpdate(
        model,
        build_optimiser(model, config.optimiser, learning_rate=1e-12),
        0,
        objective=config.objective,
        settings=config.optimiser,
        temperature=config.sampling.temperature,
        mini_batch_questions=config.training.mini_batch_questions,
        samples_as_trained=precision == "float32",
    )


def plain(model: LlamaForCausalLM, stream: Stream, rows: int, precision: str) -> None:
    """Run the tokens through the bare model: equal rows of the mean length, no padding, so many of them predicted."""
    length = len(stream.ids) // stream.num_rows
    device = next(model.parameters()).device
    ids = torch.tensor(stream.ids[: len(stream.ids) // length * length], device=device).view(-1, length)
    predicted = stream.num_policy * length // len(stream.ids)
    decoder, head = decoder_and_head(model)
    model.zero_grad(set_to_none=True)
    for chunk in ids.split(rows):
        with autocast(device, precision):
            hidden = decoder(input_ids=chunk, use_cache=False).last_hidden_state
            logits = head(hidden[:, -1 - predicted : -1])
        targets = chunk[:, chunk.shape[1] - predicted :]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum").backward()


def clock(device: torch.device) -> float:
    """Return seconds: of this process's CPU on a CPU, of the wall once a GPU has caught up."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
