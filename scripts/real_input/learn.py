"""Let a real language model learn real questions, and weigh it against a rival: ``docs/tutorials/a-real-model-learns.md``.

    python scripts/real_input/learn.py [--arm gsspo|gspo|grpo|sft] [--seed 0] [--steps 40]

Stages: model, index, questions, demonstrations, warm start, audit, training, evaluation after, evaluation before, report.
Finished stages of the directory are not done again, and the stages before the training serve every arm and seed.
The arm ``sft`` is the rival of reinforcement learning; see ``rival.py``.
"""

import argparse
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from answers import num_calls, question_figures
from model import NotUsableError, prepare_model
from rival import imitate
from stages import build_index, command, exit_code, held_in_turn, options, timed, train

from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.data import load_questions, save_questions
from workflow_r1.errors import UserError
from workflow_r1.evaluation.harness import EvaluationLog
from workflow_r1.evaluation.statistics import permutation_test
from workflow_r1.recording.run_lock import LOCK
from workflow_r1.running.policy_fit import float32_overrides, slow_precision
from workflow_r1.store.lock import held_alone
from workflow_r1.trajectory import Question, Trajectory, load_trajectories
from workflow_r1.trajectory.storage import write_atomically

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("WORKFLOW_R1_DATA", REPOSITORY.parent / "shared" / "data"))
PRESET = "smollm2-real"
BENCHMARKS = ("hotpotqa", "nq", "2wikimultihopqa")
"""Held-out questions; the last are transfer, since no training question is like them."""

CHOSEN_ON = 200
"""The warm start and the learning rate of the preset were chosen with a look at so many questions of each benchmark: the
first ones (``docs/dev/log.md``)."""

DEMONSTRATED_SHARES = {"hotpotqa": 0.6, "nq": 0.4}
"""Part of the questions that serves for demonstrations, of HotpotQA those with gold evidence; reinforcement learning may
use the others."""


def main() -> int:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--directory", type=Path, default=Path("runs/learn-real"), help="where everything of the runs goes")
    add("--arm", choices=("gsspo", "gspo", "grpo", "sft"), default="gsspo", help="what trains after the warm start")
    add("--seed", type=int, default=0, help="seed of the arm")
    add("--steps", type=count_from(1), default=40, metavar="N", help="steps of reinforcement learning")
    add("--demonstrations", type=count_from(1), default=400, metavar="N", help="trajectories of the warm start")
    add("--questions", type=count_from(1), default=200, metavar="N", help="held-out questions of each benchmark")
    add(
        "--skip-questions",
        type=count_from(0),
        default=CHOSEN_ON,
        metavar="N",
        help="held-out questions of each benchmark to leave out before them: the settings were chosen on the first "
        f"{CHOSEN_ON}",
    )
    add(
        "--repeats", type=count_from(0), default=4, metavar="N", help="sampled answers to each of them; 0 leaves it out"
    )
    add(
        "--pass-questions",
        type=count_from(0),
        default=40,
        metavar="N",
        help="questions of each benchmark for pass@8; 0 leaves it out",
    )
    add(
        "--round-questions",
        type=count_from(1),
        default=64,
        metavar="N",
        help="questions of a round of sft, 8 trajectories each",
    )
    add("--cpu-seconds", type=float, metavar="S", help="CPU time of sft in place of that of gsspo with this seed")
    add(
        "--model",
        type=Path,
        help="a policy that is here already, as a Hugging Face directory, in place of SmolLM2-135M",
    )
    add("-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="one key of the configuration")
    arguments = parser.parse_args()
    # A terminated run lets its command save a checkpoint, as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    needed = [DATA / "train" / f"{name}.jsonl" for name in ("hotpotqa", "nq")]
    needed += [DATA / "eval" / f"{name}.jsonl" for name in BENCHMARKS] + [DATA / "corpus" / "corpus.jsonl.gz"]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        print(
            f"skipped: no {', '.join(missing)}. Set WORKFLOW_R1_DATA to a folder that holds train/, eval/ and corpus/."
        )
        return 0
    return exit_code(lambda: run(arguments), arguments.directory, mistakes=(UserError, NotUsableError))


def count_from(least: int) -> Callable[[str], int]:
    """Return the reader of an option that counts something.

    Args:
        least: the smallest count that makes sense.
    """

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, received {text}")
        return number

    return read


def run(arguments: argparse.Namespace) -> None:
    """Prepare what all arms share, then train one arm and compare it with the policy before."""
    directory: Path = arguments.directory
    directory.mkdir(parents=True, exist_ok=True)
    overrides = [
        f"data.train={directory / 'train.jsonl'}",
        f"data.evaluation={DATA / 'eval' / 'hotpotqa.jsonl'}",
        f"search.corpus={DATA / 'corpus' / 'corpus.jsonl.gz'}",
        *arguments.override,
    ]
    warm = directory / "warmstart"
    with held_in_turn(directory):
        hold_out(directory, skip=arguments.skip_questions, num=arguments.questions)
        prepared = share(arguments, directory, warm, overrides)
    own = directory / f"{arguments.arm}-seed{arguments.seed}"
    with held_alone(own / LOCK, place=own):
        learn(arguments, directory, warm, own, prepared)
    # Nobody waits for it before the report: a second arm may train meanwhile.
    with held_in_turn(directory), timed(directory, "evaluation before"):
        evaluate(warm, directory, directory / "before", arguments)
    report(directory, own)


def share(arguments: argparse.Namespace, directory: Path, warm: Path, overrides: Sequence[str]) -> list[str]:
    """Do what all arms need: warm start and training questions.

    Returns:
        The overrides of all commands.
    """
    prepared = prepare(arguments, directory, overrides)
    demonstrations = directory / "demonstrations.jsonl"
    with timed(directory, "demonstrations"):
        write_demonstrations(demonstrations, directory / "shown-how.jsonl", prepared, num=arguments.demonstrations)
    with timed(directory, "warmstart"):
        train("warmstart", PRESET, warm, [*prepared, f"warmstart.demonstrations={demonstrations}"])
    with timed(directory, "audit"):
        write_training_questions(directory, prepared)
    return prepared


def learn(arguments: argparse.Namespace, directory: Path, warm: Path, own: Path, prepared: Sequence[str]) -> None:
    """Train one arm from the warm start, and evaluate it."""
    after = [*prepared, f"policy.model={warm / 'policy'}", f"seed={arguments.seed}"]
    if arguments.arm == "sft":
        trained = imitate(
            directory,
            own,
            preset=PRESET,
            seed=arguments.seed,
            round_questions=arguments.round_questions,
            budget=arguments.cpu_seconds,
            overrides=prepared,
        )
    else:
        trained = own / "train"
        with timed(own, "train"):
            train(
                "train", PRESET, trained,
                [*after, f"objective.preset={arguments.arm}", f"training.steps={arguments.steps}"],
            )  # fmt: skip
    with timed(own, "evaluation after"):
        evaluate(trained, directory, own / "after", arguments)


def prepare(arguments: argparse.Namespace, directory: Path, overrides: Sequence[str]) -> list[str]:
    """Make the model, the index and the parted questions.

    Returns:
        The overrides of all commands.
    """
    prepared = list(overrides)
    if arguments.model is not None:
        prepared.append(f"policy.model={arguments.model}")
    config = load_run_config(PRESET, prepared)
    with timed(directory, "model"):
        if arguments.model is None:
            prepare_model(Path(config.policy.model))
    prepared += quick_precision(directory, config, arguments.override)
    index = config.search.index
    assert index is not None
    with timed(directory, "index"):
        build_index(index, DATA / "corpus" / "corpus.jsonl.gz")
    part_questions(directory)
    return prepared


def quick_precision(directory: Path, config: RunConfig, given: Sequence[str]) -> list[str]:
    """Take float32 where this processor is slow at bfloat16; a directory keeps the precision of its warm start.

    Args:
        directory: the directory of all arms.
        config: the configuration so far.
        given: overrides of the user, which win.
    """
    if any(override.startswith("optimiser.precision") for override in given):
        return []
    started = directory / "warmstart" / "config.toml"
    if started.is_file():
        return [f"optimiser.precision={load_run_config(started).optimiser.precision}"]
    slow = list(slow_precision(config))
    for finding in slow:
        print(f"precision: {finding.found}; so this directory takes float32, and hours more")
    return float32_overrides(config) if slow else []


def part_questions(directory: Path) -> None:
    """Part the training questions: ``shown-how.jsonl`` to demonstrate with, ``candidates.jsonl`` for reinforcement learning."""
    if (directory / "candidates.jsonl").is_file():
        return
    to_demonstrate: list[Question] = []
    candidates: list[Question] = []
    for name, share in DEMONSTRATED_SHARES.items():
        questions = load_questions(DATA / "train" / f"{name}.jsonl")
        gold = [question for question in questions if question.metadata.get("evidence") == "gold"] or list(questions)
        random.Random(0).shuffle(gold)
        chosen = gold[: round(len(gold) * share)]
        taken = {question.id for question in chosen}
        to_demonstrate += chosen
        candidates += [question for question in questions if question.id not in taken]
    save_questions(directory / "shown-how.jsonl", to_demonstrate)
    save_questions(directory / "candidates.jsonl", candidates)
    print(f"questions: {len(to_demonstrate):,} to demonstrate with")


def write_demonstrations(path: Path, questions: Path, overrides: Sequence[str], *, num: int) -> None:
    """Let the script act, or leave its trajectories where they stand."""
    if path.is_file():
        print(f"demonstrations: {path} stands already")
        return
    command(
        "demonstrate", PRESET, "--questions", str(questions), "--untitled", "--num", str(num), "--output", str(path),
        *options(overrides),
    )  # fmt: skip


def write_training_questions(directory: Path, overrides: Sequence[str]) -> None:
    """Keep the questions whose answer one search shows, and those where the script finds it by a second search."""
    path = directory / "train.jsonl"
    if path.is_file():
        print(f"audit: {path} stands already")
        return
    candidates, shown, chained = (directory / f"{name}.jsonl" for name in ("candidates", "shown", "chained"))
    if not shown.is_file():
        command("data", "audit", PRESET, "--questions", str(candidates), "--keep", str(shown), *options(overrides))
    if not chained.is_file():
        left = directory / "candidates-gold.jsonl"
        save_questions(left, [each for each in load_questions(candidates) if each.metadata.get("evidence") == "gold"])
        command("demonstrate", PRESET, "--questions", str(left), "--output", str(chained), *options(overrides))
    kept = {question.id: question for question in load_questions(shown)}
    by_chain = [each.question for each in load_trajectories(chained) if num_calls(each) > 1]
    several = sum(question.id not in kept for question in by_chain)
    kept |= {question.id: question for question in by_chain}
    chosen = list(kept.values())
    random.Random(0).shuffle(chosen)
    save_questions(path, chosen)
    print(f"audit: {len(chosen):,} questions to train on, {several:,} of them only by a second search")


def hold_out(directory: Path, *, skip: int, num: int) -> None:
    """Write the held-out questions, or check that those of the directory are the ones that are asked for.

    Raises:
        UserError: the directory holds others, on which its policies may have been evaluated already, or no question is left.
    """
    chosen: dict[Path, Sequence[Question]] = {}
    for name in BENCHMARKS:
        questions = load_questions(DATA / "eval" / f"{name}.jsonl")[skip : skip + num]
        if not questions:
            raise UserError(f"expected more than {skip:,} questions in {DATA / 'eval' / f'{name}.jsonl'}: skip fewer")
        path = held_out(directory, name)
        if path.is_file() and [each.id for each in load_questions(path)] != [each.id for each in questions]:
            raise UserError(
                f"{path} holds other questions than questions {skip + 1:,} to {skip + len(questions):,} of {name}: give "
                "--questions and --skip-questions as before, or another --directory"
            )
        chosen[path] = questions
    # Nothing is written before all is checked: a refused call would leave files that refuse the next one.
    for path, questions in chosen.items():
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            save_questions(path, questions)


def held_out(directory: Path, benchmark: str) -> Path:
    """Name the file of the held-out questions."""
    return directory / "held-out" / f"{benchmark}.jsonl"


def evaluate(run: Path, directory: Path, output: Path, arguments: argparse.Namespace) -> None:
    """Ask the held-out questions of the directory: greedy, sampled, and some of them eight times."""
    config = load_run_config(run / "config.toml")
    sets = ",".join(f"{name}={held_out(directory, name)}" for name in BENCHMARKS)
    temperature = str(config.sampling.temperature)
    plans = {"greedy": ("0", 1, arguments.questions)}
    if arguments.repeats:
        plans["sampled"] = (temperature, arguments.repeats, arguments.questions)
    if arguments.pass_questions:
        plans["pass"] = (temperature, 8, arguments.pass_questions)
    for name, (heat, repeats, limit) in plans.items():
        place = output / name
        if (place / "summary.json").is_file():
            print(f"evaluation: {place} stands already")
            continue
        command(
            "evaluate", str(run), "--benchmark", sets, "--limit", str(limit), "--temperature", heat,
            "--repeats", str(repeats), "--output", str(place),
        )  # fmt: skip


def figures_of(trajectories: Iterable[Trajectory]) -> dict[str, Any]:
    """Figures of the answers on one benchmark; several answers to a question are averaged within it.

    Returns:
        ``exact_match``, ``f1``, ``shown`` (the gold answer stood in an observation), ``calls``, ``pass`` (some answer was
        right), all means over questions, ``questions``, and ``right``: the mean exact match of each question by its id.
    """
    figures = question_figures(trajectories)
    names = {"exact_match": "exact_match", "f1": "f1", "pass": "pass", "shown": "shown", "calls": "searches"}
    return {
        "questions": len(figures),
        **{name: mean(each[key] for each in figures.values()) for name, key in names.items()},
        "right": {id: each["exact_match"] for id, each in figures.items()},
    }


def report(directory: Path, own: Path) -> None:
    """Compare before and after, print the table, and write ``report.json``."""
    written: dict[str, Any] = {}
    print(f"\n{'':30}{'EM':>15}{'F1':>15}{'pass':>15}{'shown':>15}{'calls':>13}   p")
    for plan in sorted(path.name for path in (own / "after").iterdir() if (directory / "before" / path.name).is_dir()):
        for name in BENCHMARKS:
            logs = (EvaluationLog(directory / "before" / plan), EvaluationLog(own / "after" / plan))
            before, after = (figures_of(log.trajectories("policy", name)) for log in logs)
            both = [id for id in before["right"] if id in after["right"]]
            first, second = ([side["right"][id] for id in both] for side in (before, after))
            test = permutation_test(first=first, second=second)
            cells = "".join(
                f"{f'{before[key]:.3f} -> {after[key]:.3f}':>15}"
                for key in ("exact_match", "f1", "pass", "shown", "calls")
            )
            print(f"{f'{plan} {name} ({len(both)})':30}{cells}   {test.p_value:.3f}")
            written[f"{plan}/{name}"] = {
                "before": before,
                "after": after,
                "p_value": test.p_value,
                "up": test.num_second_better,
                "down": test.num_first_better,
            }
    seconds = {
        place.name: json.loads((place / "seconds.json").read_text())
        for place in (directory, own)
        if (place / "seconds.json").is_file()
    }
    write_atomically(own / "report.json", json.dumps({"figures": written, "seconds": seconds}, indent=2) + "\n")
    print(f"figures, questions and seconds are in {own / 'report.json'}")


if __name__ == "__main__":
    sys.exit(main())
