"""Train a real language model on real questions, end to end, on this machine: ``docs/how-to/real-input.md``.

    python scripts/real_input/run.py [--directory runs/real-input] [--steps 3]

The policy is SmolLM2-135M-Instruct, the questions are HotpotQA's, ``Search`` searches a corpus of 90,255 passages, and
the LLM behind ``AnswerGenerate`` is served by a real OpenAI-compatible server. Finished stages of the directory are not
done again: a stopped run continues. It shows that the whole path works; far too small to show learning.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from demonstrations import DemonstrationError, make_demonstrations
from model import NotUsableError, prepare_model
from server import FALLBACK, VLLM, Server, ServerError, serve
from stages import build_index, exit_code, timed, train

from workflow_r1.config import load_run_config
from workflow_r1.data import load_questions
from workflow_r1.errors import UserError
from workflow_r1.rewards import score_trajectory
from workflow_r1.running.parts import open_environments
from workflow_r1.trajectory import Question
from workflow_r1.trajectory.storage import append_trajectories, write_atomically

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("WORKFLOW_R1_DATA", REPOSITORY.parent / "shared" / "data"))
PRESET = "smollm2-hotpotqa"

NUM_DEMONSTRATION_QUESTIONS = 320
"""Number of the questions with evidence in the corpus that serve for demonstrations; the others are for reinforcement
learning.
"""


def main() -> int:
    """Run all stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--directory", type=Path, default=Path("runs/real-input"), help="where everything of the run goes"
    )
    parser.add_argument("--demonstrations", type=int, default=96, metavar="N", help="trajectories of the warm start")
    parser.add_argument("--steps", type=int, default=3, metavar="N", help="steps of GSsPO")
    parser.add_argument("--server", choices=(VLLM, FALLBACK), default=VLLM, help="what serves the operators' LLM")
    arguments = parser.parse_args()
    os.chdir(REPOSITORY)
    # A terminated run stops its server as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    needed = [DATA / name for name in ("train/hotpotqa.jsonl", "eval/hotpotqa.jsonl", "corpus/corpus.jsonl.gz")]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        print(
            f"skipped: no {', '.join(missing)}. Set WORKFLOW_R1_DATA to a folder that holds train/, eval/ and corpus/."
        )
        return 0
    return exit_code(
        lambda: run(
            arguments.directory,
            num_demonstrations=arguments.demonstrations,
            steps=arguments.steps,
            prefer=arguments.server,
        ),
        arguments.directory,
        mistakes=(UserError, NotUsableError, ServerError, DemonstrationError),
    )


def run(directory: Path, *, num_demonstrations: int, steps: int, prefer: str) -> None:
    """Prepare, warm start, train, and say how long it took."""
    config = load_run_config(PRESET)
    directory.mkdir(parents=True, exist_ok=True)
    model = Path(config.policy.model)
    with timed(directory, "model"):
        gguf = prepare_model(model)
    index = config.search.index
    assert index is not None
    with timed(directory, "index"):
        build_index(index, DATA / "corpus" / "corpus.jsonl.gz")
    split_questions(directory)
    with serve(
        model, gguf, environments=REPOSITORY, log=directory / "server.log", port=port_before(directory), prefer=prefer
    ) as server:
        write_atomically(
            directory / "server.json", json.dumps({"kind": server.kind, "base_url": server.base_url}) + "\n"
        )
        overrides = [
            f"llm.base_url={server.base_url}",
            f"data.train={directory / 'train.jsonl'}",
            f"data.evaluation={DATA / 'eval' / 'hotpotqa.jsonl'}",
            f"search.corpus={DATA / 'corpus' / 'corpus.jsonl.gz'}",
            f"training.steps={steps}",
        ]
        demonstrations = directory / "demonstrations.jsonl"
        if demonstrations.is_file():
            print(f"demonstrations: {demonstrations} stands already")
        else:
            with timed(directory, "demonstrations"):
                demonstrate(directory, demonstrations, num=num_demonstrations, overrides=overrides)
        warm = directory / "warmstart"
        with timed(directory, "warmstart"):
            train("warmstart", PRESET, warm, [*overrides, f"warmstart.demonstrations={demonstrations}"])
        trained = directory / "train"
        with timed(directory, "train"):
            train("train", PRESET, trained, [*overrides, f"policy.model={warm / 'policy'}"])
    tell(directory, trained, server)


def port_before(directory: Path) -> int | None:
    """Return the port of an earlier start: a run that continues must find its configuration unchanged, addresses included."""
    path = directory / "server.json"
    return urlsplit(json.loads(path.read_text())["base_url"]).port if path.is_file() else None


def split_questions(directory: Path) -> None:
    """Part the training questions whose evidence is in the corpus: for demonstrations, and for reinforcement learning."""
    lines = (DATA / "train" / "hotpotqa.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if json.loads(line).get("evidence") == "gold"]
    random.Random(0).shuffle(rows)
    parts = {"demonstrated": rows[:NUM_DEMONSTRATION_QUESTIONS], "train": rows[NUM_DEMONSTRATION_QUESTIONS:]}
    for name, part in parts.items():
        write_atomically(directory / f"{name}.jsonl", "\n".join(part) + "\n")
    print(f"questions: {len(parts['demonstrated'])} to demonstrate with, {len(parts['train'])} to train on")


def demonstrate(directory: Path, path: Path, *, num: int, overrides: list[str]) -> None:
    """Write the demonstrations."""
    config = load_run_config(PRESET, overrides)
    questions: list[Question] = load_questions(directory / "demonstrated.jsonl")
    kept = asyncio.run(
        make_demonstrations(
            questions,
            make_environment=open_environments(config),
            num=num,
            seed=config.seed,
            on_progress=lambda done, tried: print(f"demonstrations: {done} of {num} kept, {tried} questions tried"),
        )
    )
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    append_trajectories(unfinished, kept)
    unfinished.rename(path)
    scored = [score_trajectory(trajectory) for trajectory in kept]
    calls = [call.operator for trajectory in kept for turn in trajectory.turns for call in turn.calls]
    right = sum(trajectory.reward.exact_match for trajectory in scored) / len(scored)
    print(
        f"demonstrations: {len(kept)} in {path}; {calls.count('Search')} Search, {calls.count('AnswerGenerate')} "
        f"AnswerGenerate; {right:.2f} end with a right answer"
    )


def tell(directory: Path, trained: Path, server: Server) -> None:
    """Print the results of the run."""
    print(f"\nserver: {server.kind}")
    for stage, seconds in json.loads((directory / "seconds.json").read_text()).items():
        print(f"{stage}: {seconds['wall']:.0f} s, {seconds['cpu']:.0f} s of CPU")
    for line in (trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["step"] > 0:
            shown = [key for key in SHOWN if key in row]
            print(f"step {row['step']}: " + ", ".join(f"{key} {row[key]:.4g}" for key in shown))
    print(f"metrics, trajectories and a report with examples are in {trained}. No learning is claimed.")


SHOWN = (
    "rollout/reward",
    "rollout/exact_match",
    "rollout/malformed_rate",
    "rollout/turns",
    "rollout/num_failed",
    "update/loss",
    "update/grad_norm",
    "time/rollout_seconds",
    "time/update_seconds",
)
"""Figures of a step that are printed."""


if __name__ == "__main__":
    sys.exit(main())
