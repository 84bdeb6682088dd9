"""Benchmarks from the Hugging Face hub, and the record of the source of each file."""

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from workflow_r1.data.benchmarks import Benchmark
from workflow_r1.data.checks import fingerprint
from workflow_r1.data.mixture import draw_questions
from workflow_r1.data.questions import load_questions, save_questions
from workflow_r1.errors import DataError, MissingExtraError, ServiceUnavailableError
from workflow_r1.installation import install_command
from workflow_r1.trajectory import Question
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import write_atomically


class Source(Record):
    """Source of a file of questions; kept beside it as ``NAME.source.json``."""

    benchmark: str
    """Name of the benchmark."""
    split: str
    """Split of the benchmark."""
    repository: str
    """Dataset repository on the hub."""
    revision: str
    """The commit there."""
    path: str
    """The file there."""
    sha256: str
    """SHA-256 of the published file."""
    num_published: int
    """Questions in that file."""
    num_questions: int
    """Questions in our file: fewer where rows were drawn."""
    draw_seed: int | None = None
    """Seed of the drawn rows; None where all were taken."""
    fingerprint: str
    """Fingerprint of our file's questions."""


def source_path(path: Path) -> Path:
    """Return the path of the record of a file's source."""
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.source.json")


def read_source(path: Path) -> Source | None:
    """Return the source of a file of questions; None where it was not recorded.

    Raises:
        DataError: the record is damaged.
    """
    record = source_path(path)
    if not record.is_file():
        return None
    try:
        return Source.model_validate_json(record.read_bytes())
    except ValueError as error:
        raise DataError(f"{record}: expected the record of a fetched file, found {error}; fetch it again") from None


def check_source(path: Path, questions: Sequence[Question]) -> Source | None:
    """Compare a file of questions with the record of its source, and return that record.

    Raises:
        DataError: the questions are others than those that were fetched, or the record is damaged.
    """
    source = read_source(path)
    if source is not None and fingerprint(questions) != source.fingerprint:
        raise DataError(
            f"{path}: expected the {source.num_questions} questions with the fingerprint {source.fingerprint[:16]}, as "
            f"fetched, found {len(questions)} others: fetch them again with `workflow-r1 data fetch {source.benchmark} "
            f"--split {source.split} --force`, or delete {source_path(path).name} if the change is yours"
        )
    return source


def fetch_benchmark(
    benchmark: Benchmark,
    split: str,
    directory: Path,
    *,
    revision: str | None = None,
) -> Source:
    """Download a split, and write its questions and the record of their source into ``directory``.

    An interrupted download continues where it stopped, and files of the hub's cache are not downloaded again. Address
    and cache are huggingface_hub's: ``HF_ENDPOINT``, ``HF_HOME``.

    Args:
        benchmark: the benchmark.
        split: one of its splits.
        directory: see ``Benchmark.path_in``.
        revision: commit or branch; None takes the benchmark's own.

    Raises:
        DataError: there is no such split or file; the file is not the known one; it holds another number of questions.
        MissingExtraError: huggingface_hub is not installed, or pyarrow where it is needed.
        ServiceUnavailableError: the hub cannot be reached.
    """
    published = benchmark.file_of(split)
    downloaded, commit = _download(benchmark.repository, published.path, revision or benchmark.revision)
    digest = _sha256(downloaded)
    if revision is None and published.sha256 is not None and digest != published.sha256:
        raise DataError(
            f"{benchmark.repository}/{published.path} at {commit}: expected a file with the SHA-256 {published.sha256}, "
            f"received one with {digest}: name the --revision that you want"
        )
    # FlashRAG numbers the rows of every benchmark alike. A mixture's rows name their datasets themselves.
    name = None if benchmark.evaluated is None else benchmark.name
    questions = load_questions(downloaded, split=split, dataset=name, prefix_ids=True)
    if revision is None and len(questions) != published.questions:
        raise DataError(
            f"{benchmark.repository}/{published.path} at {commit}: expected {published.questions} questions, as "
            f"documented, found {len(questions)}: the published file has changed; name the --revision that you want"
        )
    draw = benchmark.drawn(split)
    used = questions if draw is None else draw_questions(questions, draw)
    target = benchmark.path_in(directory, split)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = Source(
        benchmark=benchmark.name,
        split=split,
        repository=benchmark.repository,
        revision=commit,
        path=published.path,
        sha256=digest,
        num_published=len(questions),
        num_questions=len(used),
        draw_seed=None if draw is None else draw.seed,
        fingerprint=fingerprint(used),
    )
    # Without its record a file is taken as the user's own, so an interruption between the two lines misleads nobody.
    source_path(target).unlink(missing_ok=True)
    save_questions(target, used)
    write_atomically(source_path(target), source.model_dump_json(indent=2) + "\n")
    return source


def _download(repository: str, path: str, revision: str) -> tuple[Path, str]:
    """Return the downloaded file and its commit."""
    try:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError:
        raise MissingExtraError(
            f"fetching from the hub needs huggingface_hub, which is not installed; run: {install_command('data')}"
        ) from None
    hub = constants.ENDPOINT
    address = f"{hub}/datasets/{repository}/resolve/{revision}/{path}"
    by_hand = (
        f"connect this machine, set HF_ENDPOINT to a mirror, or download {address} elsewhere and bring it in with "
        "`workflow-r1 data convert`"
    )
    # huggingface_hub speaks through httpx before 2.0, through httpx2 since.
    http_errors = [sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules]
    try:
        file = Path(hf_hub_download(repository, path, repo_type="dataset", revision=revision))
        if not _is_whole(file):
            file = Path(hf_hub_download(repository, path, repo_type="dataset", revision=revision, force_download=True))
    except LocalEntryNotFoundError:
        raise ServiceUnavailableError(
            f"expected to reach {hub}, but it does not answer and {path} is not in its cache: {by_hand}"
        ) from None
    except (RepositoryNotFoundError, GatedRepoError, RevisionNotFoundError, EntryNotFoundError, HFValidationError):
        raise DataError(
            f"expected {path} in the dataset {repository} at revision {revision!r}, but the hub does not give it: check "
            f"--revision, and whether {address} opens in a browser"
        ) from None
    except (HfHubHTTPError, ConnectionError, *http_errors) as error:
        raise ServiceUnavailableError(f"{address}: the download failed ({error}); run it again, or {by_hand}") from None
    if not _is_whole(file):
        raise ServiceUnavailableError(
            f"{address}: expected a file with the checksum that the hub states, received another twice: run it again, "
            f"or {by_hand}"
        )
    return file, _commit_of(file)


def _is_whole(file: Path) -> bool:
    """Return True where a file in the hub's cache is the hub's own, or the hub names no hash.

    The cache calls a file by its ETag, which is the SHA-256 of a large file and git's SHA-1 of a small one.
    """
    tag = file.resolve().name
    if re.fullmatch("[0-9a-f]{64}", tag):
        return _sha256(file) == tag
    if re.fullmatch("[0-9a-f]{40}", tag):
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest() == tag
    return True


def _commit_of(file: Path) -> str:
    """Return the commit of a file in the hub's cache: ``.../snapshots/COMMIT/path``."""
    parts = file.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
