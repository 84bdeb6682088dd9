"""The long run on real questions, small: killed without warning while it trains, and continued by the same command."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow_r1.embedded import policy_directory

SCRIPT = Path(__file__).parents[2] / "scripts" / "real_input" / "learn.py"
STEPS = 5
PEOPLE = (
    "Ada Stone", "Bruno Lake", "Cora Hill", "Dario Wood", "Elsa Marsh", "Fabio Reed", "Greta Dale", "Hugo Frost", "Ida Moor",
    "Jonas Beck", "Kira Thorn", "Linus Ford",
)  # fmt: skip
CITIES = (
    "Amberton", "Brackwater", "Coldharbour", "Dunmere", "Eastholm", "Farrowby", "Glenrock", "Highcliff", "Ironbridge",
    "Juniper Bay", "Kestrel Point", "Longmarsh",
)  # fmt: skip
SMALL = (
    "training.questions_per_step=2", "training.group_size=4", "training.mini_batch_questions=1",
    "training.checkpoint_every=2", "warmstart.epochs=1", "policy.threads=1",
)  # fmt: skip


def write_data(directory: Path) -> None:
    """Twelve people and where they were born, in the layout of the data folder."""
    rows = [
        {"id": f"born-{number}", "question": f"Where was {person} born?", "golden_answers": [city], "split": "train",
         "supporting_titles": [person], "evidence": "gold"}
        for number, (person, city) in enumerate(zip(PEOPLE, CITIES, strict=True))
    ]  # fmt: skip
    for part, names in (("train", ("hotpotqa", "nq")), ("eval", ("hotpotqa", "nq", "2wikimultihopqa"))):
        (directory / part).mkdir(parents=True)
        for name in names:
            text = "".join(json.dumps({**row, "id": f"{name}-{row['id']}", "dataset": name}) + "\n" for row in rows)
            (directory / part / f"{name}.jsonl").write_text(text)
    (directory / "corpus").mkdir()
    with gzip.open(directory / "corpus" / "corpus.jsonl.gz", "wt") as file:
        for number, (person, city) in enumerate(zip(PEOPLE, CITIES, strict=True)):
            text = f"{person} was a painter. {person} was born in {city}."
            file.write(json.dumps({"id": str(number), "title": person, "text": text}) + "\n")


def started(place: Path) -> subprocess.Popen[str]:
    overrides = [part for override in SMALL for part in ("-o", override)]
    return subprocess.Popen(
        [
            sys.executable, str(SCRIPT), "--directory", "run", "--model", str(policy_directory()), "--steps", str(STEPS),
            "--demonstrations", "6", "--questions", "2", "--skip-questions", "0", "--repeats", "1",
            "--pass-questions", "0", *overrides,
        ],
        cwd=place,
        env={**os.environ, "WORKFLOW_R1_DATA": str(place.parent / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip


def rows(run: Path) -> list[dict[str, object]]:
    path = run / "gsspo-seed0" / "train" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith("time/")}
        for line in lines
        if line.endswith("}")
    ]


@pytest.mark.slow
def test_killed_while_it_trains_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """Step 3 is on the disk but after the last checkpoint: the resume cuts it off and repeats it."""
    write_data(tmp_path / "data")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    done = started(whole)
    output, _ = done.communicate(timeout=900)
    assert done.returncode == 0, output

    # What all arms share stands already.
    shutil.copytree(whole, killed, ignore=shutil.ignore_patterns("gsspo-seed0"))
    doomed = started(killed)
    deadline = time.monotonic() + 900
    while len(rows(killed / "run")) < 3:
        assert doomed.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(doomed.pid, signal.SIGKILL)  # The script and the command that trains.
    doomed.communicate()
    assert not (killed / "run" / "gsspo-seed0" / "train" / "policy").exists()

    again = started(killed)
    output, _ = again.communicate(timeout=900)
    assert again.returncode == 0, output
    assert "warmstart: run/warmstart/policy stands already" in output and "--resume run/gsspo-seed0/train" in output
    assert [row["step"] for row in rows(killed / "run")] == list(range(1, STEPS + 1))
    assert rows(killed / "run") == rows(whole / "run")
    reports = [json.loads((place / "run" / "gsspo-seed0" / "report.json").read_text()) for place in (whole, killed)]
    assert reports[0]["figures"] == reports[1]["figures"]
    assert not (killed / "run" / ".lock").exists()
