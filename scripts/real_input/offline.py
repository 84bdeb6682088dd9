"""Take ``learn.py`` to a machine without a network, whose files arrive in pieces of at most 64 MiB.

    python scripts/real_input/offline.py pack PIECES --model DIR --index DIR     # here, with WORKFLOW_R1_DATA
    python PIECES/offline.py run PIECES [arguments of learn.py]                  # there, after each piece

``pack`` writes the model, the index, the questions, the corpus, these scripts, a wheel of this package, and the list of
the versions of all others that it was tested with, which must be installed there already. ``run`` says which pieces are
still to come, and with the last one it unpacks and runs ``learn.py`` in steps of 64 questions, 8 trajectories each. It
needs nothing but Python until then. The same command continues a run that was stopped.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

PIECE_BYTES = 64 * 2**20 - 4096
"""Most bytes of a piece: a little below 64 MiB, so that a carrier's own bytes fit."""

LIST = "pieces.json"
"""Names, sizes and SHA-256 of the pieces, in order."""

NEEDED = "needed.txt"
"""Versions of the packages that must be there; of these only what ``REQUIRED`` names is looked for."""

REQUIRED = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "PyStemmer",
    "pydantic",
    "typer",
    "rich",
    "httpx2",
    "jaxtyping",
)
"""Packages without which nothing runs."""

ON_A_GPU = (
    "training.questions_per_step=64", "training.group_size=8", "training.mini_batch_questions=32", "sampling.max_sessions=512",
)  # fmt: skip
"""Overrides of the preset, which is made for two CPU cores."""

STEPS = 30
"""Steps of reinforcement learning unless ``--steps`` says otherwise."""


class Incomplete(Exception):
    """Pieces that have not arrived yet, or not whole."""


def main() -> int:
    """Pack, or run what was packed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write the pieces")
    packing.add_argument("pieces", type=Path)
    packing.add_argument("--model", type=Path, required=True, help="the policy, as a Hugging Face directory")
    packing.add_argument("--index", type=Path, required=True, help="the BM25 index of the corpus")
    running = commands.add_parser("run", help="say what is missing, or unpack and run")
    running.add_argument("pieces", type=Path)
    arguments, others = parser.parse_known_args()
    if arguments.command == "pack":
        if others:
            parser.error(f"unrecognized arguments: {' '.join(others)}")
        pack(arguments.pieces, model=arguments.model, index=arguments.index)
        return 0
    try:
        place = unpack(arguments.pieces)
    except Incomplete as missing:
        print(f"waiting: {missing}; run the same command again when they are there")
        return 3
    lacking = [name for name in REQUIRED if not is_installed(name)]
    if lacking:
        print(
            f"error: expected {', '.join(lacking)} to be installed here, in the versions of {place / NEEDED}",
            file=sys.stderr,
        )
        return 2
    return learn(place, others)


def pack(pieces: Path, *, model: Path, index: Path) -> None:
    """Write the pieces, their list and this script into a new directory."""
    from learn import BENCHMARKS, DATA, REPOSITORY

    data = [Path("train") / f"{name}.jsonl" for name in ("hotpotqa", "nq")]
    data += [Path("eval") / f"{name}.jsonl" for name in BENCHMARKS] + [Path("corpus") / "corpus.jsonl.gz"]
    pieces.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        wheel = build_wheel(REPOSITORY, Path(temporary))
        contents = [(model, "model"), (index, "index"), (wheel, wheel.name), (REPOSITORY / "constraints.txt", NEEDED)]
        contents += [(DATA / path, f"data/{path.as_posix()}") for path in data]
        contents += [(path, f"scripts/{path.name}") for path in sorted(Path(__file__).parent.glob("*.py"))]
        with Splitter(pieces, PIECE_BYTES) as splitter, tarfile.open(fileobj=splitter, mode="w|") as archive:
            for path, name in contents:
                archive.add(path, arcname=name)
    (pieces / LIST).write_text(json.dumps(splitter.written, indent=1) + "\n", encoding="utf-8")
    (pieces / Path(__file__).name).write_bytes(Path(__file__).read_bytes())
    print(f"{len(splitter.written)} pieces, {LIST} and {Path(__file__).name} are in {pieces}")


def build_wheel(repository: Path, directory: Path) -> Path:
    """Build the wheel of this package."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "-q",
        "wheel",
        "--no-deps",
        "-w",
        str(directory),
    ]
    subprocess.run([*command, str(repository)], check=True)
    return next(directory.glob("*.whl"))


class Splitter(io.RawIOBase):
    """A file that is written as pieces.

    Args:
        directory: where they go.
        size: most bytes of one.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self._directory, self._size, self._buffer = directory, size, bytearray()
        self.written: list[dict[str, str | int]] = []
        """Name, size and SHA-256 of each piece."""

    def write(self, data: Iterable[int]) -> int:  # type: ignore[override]
        """Take some bytes."""
        self._buffer += bytes(data)
        while len(self._buffer) >= self._size:
            self._cut()
        return len(bytes(data))

    def close(self) -> None:
        """Write what is left."""
        if not self.closed and self._buffer:
            self._cut()
        super().close()

    def _cut(self) -> None:
        piece = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        name = f"piece-{len(self.written):04d}"
        (self._directory / name).write_bytes(piece)
        self.written.append({"name": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()})


class Joined(io.RawIOBase):
    """Pieces that are read as one file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._pieces: Iterator[bytes] = (path.read_bytes() for path in paths)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Read some bytes; 0 at the end of the last piece."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        taken = self._left[: len(buffer)]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)


def unpack(pieces: Path) -> Path:
    """Check all pieces, and unpack them once.

    Returns:
        The directory ``unpacked`` beside the pieces.

    Raises:
        Incomplete: some have not arrived, or not whole.
    """
    place = pieces / "unpacked"
    if place.is_dir():
        return place
    if not (pieces / LIST).is_file():
        raise Incomplete(f"{LIST} in {pieces}")
    listed = json.loads((pieces / LIST).read_text(encoding="utf-8"))
    absent = [each["name"] for each in listed if not is_whole(pieces / each["name"], each)]
    if absent:
        raise Incomplete(f"{len(absent)} of {len(listed)} pieces, {', '.join(absent)}")
    unfinished = pieces / "unpacking"
    joined = io.BufferedReader(Joined([pieces / each["name"] for each in listed]))
    with joined, tarfile.open(fileobj=joined, mode="r|") as archive:
        archive.extractall(unfinished, filter="data")
    (wheel,) = unfinished.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unfinished / "packages")
    unfinished.rename(place)
    return place


def is_whole(path: Path, listed: dict[str, str | int]) -> bool:
    """Return whether a piece is there, with the contents that were packed."""
    return (
        path.is_file()
        and path.stat().st_size == listed["bytes"]
        and hashlib.sha256(path.read_bytes()).hexdigest() == listed["sha256"]
    )


def is_installed(name: str) -> bool:
    """Return whether a package is installed here."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def learn(place: Path, arguments: Sequence[str]) -> int:
    """Run ``learn.py`` with what was unpacked, in steps for a GPU; the arguments come last and win.

    Returns:
        Its exit code.
    """
    place = place.resolve()
    overrides = [f"search.index={place / 'index'}", *ON_A_GPU]
    command = [
        sys.executable, str(place / "scripts" / "learn.py"), "--directory", str(place / "runs"), "--model", str(place / "model"),
        "--steps", str(STEPS), *(part for override in overrides for part in ("-o", override)), *arguments,
    ]  # fmt: skip
    variables = {"WORKFLOW_R1_DATA": str(place / "data"), "PYTHONPATH": str(place / "packages"), "HF_HUB_OFFLINE": "1"}
    print(f"$ {' '.join(command)}", flush=True)
    return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
