"""The rival of reinforcement learning: rejection sampling and more supervised training, for the same CPU time.

Round by round it samples as reinforcement learning does, keeps the right trajectories, and trains on them with as many first
demonstrations, until it has used as much CPU time as the training of ``gsspo`` with the same seed, or as ``learn.py`` allows.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from stages import command, options, timed, train

from workflow_r1.data import load_questions, save_questions
from workflow_r1.errors import UserError
from workflow_r1.trajectory import Question, load_trajectories
from workflow_r1.trajectory.storage import append_trajectories


def imitate(
    directory: Path,
    own: Path,
    *,
    preset: str,
    seed: int,
    round_questions: int,
    budget: float | None,
    overrides: Sequence[str],
) -> Path:
    """Sample, keep what is right, train on it, until the CPU time is used.

    Args:
        directory: the directory that all arms share: ``train.jsonl``, ``demonstrations.jsonl`` and ``warmstart/``.
        own: directory of this arm and seed.
        preset: the configuration of every round.
        seed: seed of the arm.
        round_questions: questions of a round, 8 trajectories each.
        budget: CPU seconds; None takes those of ``gsspo`` with this seed.
        overrides: overrides of all commands.

    Returns:
        The run directory of the last round.

    Raises:
        UserError: ``gsspo`` with this seed has not ended, or the budget allows no round.
    """
    if budget is None:
        budget = budget_of_gsspo(directory, seed)
    questions = load_questions(directory / "train.jsonl")
    random.Random(seed).shuffle(questions)
    before, number = directory / "warmstart", 0
    while cpu_of(own, "train") < budget:
        place = own / f"round-{number}"
        place.mkdir(exist_ok=True)
        asked = batch_of(questions, number, round_questions)
        with timed(own, "train"):
            imitate_once(place, before, directory / "demonstrations.jsonl", asked, preset, seed, overrides)
        before, number = place / "warmstart", number + 1
        print(f"sft: round {number}, {cpu_of(own, 'train'):.0f} of {budget:.0f} CPU seconds")
    # A resumed script finds its budget used and counts the rounds that stand.
    rounds = sorted(own.glob("round-*/warmstart/policy"), key=lambda path: int(path.parts[-3].split("-")[1]))
    if not rounds:
        raise UserError(f"expected a budget above 0 CPU seconds, received {budget:g}")
    return rounds[-1].parent


def budget_of_gsspo(directory: Path, seed: int) -> float:
    """Return the CPU seconds that the training of ``gsspo`` took.

    Raises:
        UserError: it has not ended; its CPU time grows until its policy stands.
    """
    run = directory / f"gsspo-seed{seed}"
    if not (run / "train" / "policy").is_dir():
        raise UserError(
            f"expected a trained policy in {run}, whose CPU time sft may use, found none: run --arm gsspo --seed "
            f"{seed} to its end first, or give --cpu-seconds"
        )
    return cpu_of(run, "train")


def imitate_once(
    place: Path,
    before: Path,
    first: Path,
    questions: Sequence[Question],
    preset: str,
    seed: int,
    overrides: Sequence[str],
) -> None:
    """Do one round: every part of it is left where it stands.

    Args:
        place: directory of the round.
        before: run directory whose policy the round begins with.
        first: the demonstrations of the warm start.
        questions: the questions to sample.
        preset: the configuration.
        seed: seed of the arm.
        overrides: overrides of all commands.
    """
    asked, sampled, right, shown = (place / f"{name}.jsonl" for name in ("questions", "sampled", "right", "shown"))
    policy = f"policy.model={before / 'policy'}"
    if (place / "warmstart" / "policy").is_dir():
        return
    if not asked.is_file():
        save_questions(asked, questions)
    if not shown.is_file():
        if not right.is_file():
            # A killed rollout leaves its part, and no command continues it.
            sampled.unlink(missing_ok=True)
            command(
                "rollout", preset, "--questions", str(asked), "--group-size", "8", "--seed", str(seed),
                "--output", str(sampled), *options([*overrides, policy]),
            )  # fmt: skip
            command(
                "demonstrate", preset, "--from", str(sampled), "--per-question", "2", "--output", str(right),
                *options(overrides),
            )  # fmt: skip
        unfinished = place / "unfinished.jsonl"
        unfinished.unlink(missing_ok=True)
        chosen, known = load_trajectories(right), load_trajectories(first)
        # As many of the first ones as there are new ones: all of them would take most of the time in each round.
        known = random.Random(f"{seed} {place.name}").sample(known, min(len(known), len(chosen)))
        append_trajectories(unfinished, [*known, *chosen])
        unfinished.rename(shown)
    train(
        "warmstart", preset, place / "warmstart",
        [*overrides, policy, f"warmstart.demonstrations={shown}", "warmstart.epochs=1", f"seed={seed}"],
    )  # fmt: skip


def batch_of(questions: Sequence[Question], number: int, size: int) -> list[Question]:
    """Return the questions of a round; after the last ones follow the first."""
    size = min(size, len(questions))
    return [questions[(number * size + place) % len(questions)] for place in range(size)]


def cpu_of(own: Path, stage: str) -> float:
    """CPU seconds of a stage so far."""
    path = own / "seconds.json"
    seconds: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    return seconds.get(stage, {}).get("cpu", 0.0)
