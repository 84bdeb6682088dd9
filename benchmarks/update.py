"""Update tokens per second against the limit: the bare model on the same tokens without padding.

    python benchmarks/update.py [--model DIRECTORY] [--trajectories 128] [--threads 1]

The limit concatenates all tokens of the step into rows of one length (no padding, no loss of rows, nothing to gather)
and does a plain forward and backward of the whole vocabulary with a summed cross entropy, at the best of several batch
sizes. The update works as in training: cut into micro-batches, log-probabilities, objective, metrics, clipping, AdamW.
Tokens are real ones, padding never counts. Every round times both, one after the other, and the medians of CPU time are
compared: on a machine that others use too, wall time measures them. On a GPU it is wall time.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from ratios import note
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from workflow_r1.config.run import RunConfig
from workflow_r1.engines.native.optimiser import build_optimiser
from workflow_r1.engines.native.update import PolicyUpdate
from workflow_r1.policy.model import resolve_device
from workflow_r1.policy.packing import num_tokens
from workflow_r1.trajectory import Question, Reward, ScoredTrajectory, StopReason, Trajectory, Turn

GROUP_SIZE = 8


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="directory of a causal LM; without it a random 2M-parameter Llama")
    parser.add_argument("--trajectories", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--ratios", type=Path, help="file to which the ratios are appended")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    model = load_model(arguments.model).to(device).eval()
    groups = make_groups(arguments.trajectories, model.config.vocab_size)
    tokens = sum(num_tokens(trajectory) for group in groups for trajectory in group)
    policy = sum(trajectory.num_policy_tokens for group in groups for trajectory in group)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{parameters / 1e6:.1f}M parameters, {arguments.trajectories} trajectories, {tokens} tokens, {policy} of them"
    )
    print(f"the policy's; {arguments.threads} thread(s), {device}, {arguments.precision}")

    update, recomputing = (
        make_update(model, arguments.precision, mini_batches=count, num_groups=len(groups)) for count in (1, 2)
    )
    limits = {rows: (lambda rows=rows: plain(model, groups, rows, arguments.precision)) for rows in (4, 8, 16, 32)}
    candidates: dict[str, Callable[[], object]] = {
        **{f"limit, {rows} rows": run for rows, run in limits.items()},
        "update, one mini-batch": lambda: update.step(groups, policy_version=0),
        "update, two mini-batches": lambda: recomputing.step(groups, policy_version=0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(arguments.rounds + 1):
        for name, run in candidates.items():
            before = clock(device)
            run()
            if number:  # The first round warms up.
                seconds[name].append(clock(device) - before)
    speeds = {name: tokens / statistics.median(values) for name, values in seconds.items()}
    limit = max(speed for name, speed in speeds.items() if name.startswith("limit"))
    for name, speed in speeds.items():
        print(f"{name:26s} {speed:9.0f} tokens/s   {speed / limit:5.2f} of the limit")
    best = seconds[next(name for name, speed in speeds.items() if speed == limit)]
    for name, values in seconds.items():
        if name.startswith("update"):
            each = [theirs / ours for theirs, ours in zip(best, values, strict=True)]
            note(arguments.ratios, name, each, to="plain forward and backward, no padding")
    print("two mini-batches also recompute the old policy's log-probabilities of the second: half a forward pass more")


def load_model(directory: Path | None) -> LlamaForCausalLM:
    """Return the model to be timed."""
    torch.manual_seed(0)
    if directory is not None:
        return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa")
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1024,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            tie_word_embeddings=True,
        )
    )


def make_groups(num: int, vocabulary: int) -> list[list[ScoredTrajectory]]:
    """Return groups of scored trajectories of about 250 tokens in 1 to 8 turns; about half are the policy's."""
    generator = random.Random(0)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(generator.randrange(5, vocabulary) for _ in range(generator.randint(low, high)))

    trajectories = []
    for index in range(num):
        turns = []
        for turn in range(1, generator.randint(1, 8) + 1):
            tokens = ids(15, 35)
            turns.append(
                Turn(
                    index=turn,
                    text="",
                    token_ids=tokens,
                    logprobs=(-1.0,) * len(tokens),
                    context_token_ids=ids(15, 45),
                    well_formed=True,
                )
            )
        reward = float(generator.random() < 0.5)
        trajectory = Trajectory(
            id=str(index),
            group_id=str(index // GROUP_SIZE),
            question=Question(id=str(index // GROUP_SIZE), text="?", golden_answers=("x",)),
            prompt_token_ids=ids(15, 30),
            turns=tuple(turns),
            stop_reason=StopReason.ANSWERED,
        )
        scored = Reward(total=reward, answer=reward, format=0.0, exact_match=reward, f1=reward)
        trajectories.append(ScoredTrajectory(**dict(trajectory), reward=scored))
    return [trajectories[start : start + GROUP_SIZE] for start in range(0, num, GROUP_SIZE)]


def make_update(model: LlamaForCausalLM, precision: str, *, mini_batches: int, num_groups: int) -> PolicyUpdate:
    """Return an update of a model that learns too slowly to change while it is timed."""
    config = RunConfig.model_validate(
        {
            "objective": {"kl_coefficient": 0.0},
            "optimiser": {"learning_rate": 1e-9, "precision": precision},
            "training": {"mini_batch_questions": -(-num_groups // mini_batches)},
        }
    )
    return PolicyUpdate(model, build_optimiser(model, config.optimiser, learning_rate=1e-9), 0, config=config)


def plain(model: LlamaForCausalLM, groups: list[list[ScoredTrajectory]], rows: int, precision: str) -> None:
    """Run the same tokens through the bare model: equal rows of the mean length, no padding."""
    stream = [
        token
        for group in groups
        for trajectory in group
        for token in (
            *trajectory.prompt_token_ids,
            *(token for turn in trajectory.turns for token in (*turn.token_ids, *turn.context_token_ids)),
        )
    ]
    length = len(stream) // sum(len(group) for group in groups)
    device = next(model.parameters()).device
    ids = torch.tensor(stream[: len(stream) // length * length], device=device).view(-1, length)
    model.zero_grad(set_to_none=True)
    for chunk in ids.split(rows):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(input_ids=chunk, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), chunk[:, 1:].flatten(), reduction="sum")
        loss.backward()


def clock(device: torch.device) -> float:
    """Return seconds: of this process's CPU on a CPU, of the wall once a GPU has caught up."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
