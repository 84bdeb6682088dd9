"""The seven benchmarks of the paper and its training mixture: where each is published, and which rows are used.

Sizes are those that FlashRAG's documentation states, and for the mixture the row counts of its parquet files. Licences are
those that the original authors state for the data; nothing of it ships with this package.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workflow_r1.errors import DataError

_FLASHRAG = "RUC-NLPIR/FlashRAG_datasets"
_SEARCH_R1 = "PeterJinGo/nq_hotpotqa_train"

Use = Literal["train", "eval"]
"""Purpose of a split, and the folder that it goes into."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One published file of one split."""

    path: str
    """Inside the repository."""
    questions: int
    """Number of questions in the file."""
    sha256: str | None = None
    """SHA-256 of the file, where it is known beforehand; None takes the hub's current file and records its hash."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A sample without replacement whose rows a seed fixes."""

    size: int
    """Number of questions drawn."""
    seed: int
    """Seed of NumPy's ``RandomState``."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark, or a mixture to train on."""

    name: str
    """Name in commands and files, and the ``dataset`` of the benchmark's questions."""
    title: str
    """Title that the authors gave it."""
    splits: dict[str, HubFile]
    """Published splits that have answers."""
    licence: str
    """Licence of the data."""
    citation: str
    """Citation of the paper."""
    evaluated: str | None
    """Split of the reported figures; None for a mixture to train on."""
    repository: str = _FLASHRAG
    """Dataset repository on the hub."""
    revision: str = "main"
    """Commit or branch there."""
    draw: Draw | None = None
    """Rows of the split ``train`` that are used; None takes all."""

    @property
    def default_split(self) -> str:
        """Split that is fetched where none is named."""
        return self.evaluated or "train"

    def file_of(self, split: str) -> HubFile:
        """Return the published file of a split.

        Raises:
            DataError: the benchmark has no such split.
        """
        if split not in self.splits:
            raise DataError(f"{self.name}: expected a split among {', '.join(self.splits)}, received {split!r}")
        return self.splits[split]

    def drawn(self, split: str) -> Draw | None:
        """Return the rows of a split that are used."""
        return self.draw if split == "train" else None

    def path_in(self, directory: Path, split: str) -> Path:
        """Return the path of a split's questions: ``train/NAME.jsonl``, ``eval/NAME.jsonl``, ``eval/NAME-SPLIT.jsonl``."""
        use: Use = "train" if split == "train" else "eval"
        is_usual = split in (self.evaluated, "train")
        return directory / use / (f"{self.name}.jsonl" if is_usual else f"{self.name}-{split}.jsonl")


def _splits(folder: str, **questions: int) -> dict[str, HubFile]:
    return {split: HubFile(f"{folder}/{split}.jsonl", number) for split, number in questions.items()}


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="nq",
            title="Natural Questions (open)",
            splits=_splits("nq", train=79_168, dev=8_757, test=3_610),
            evaluated="test",
            licence="CC BY-SA 3.0",
            citation="Kwiatkowski et al. 2019, TACL 7; open form: Lee et al. 2019, arXiv:1906.00300",
        ),
        Benchmark(
            name="triviaqa",
            title="TriviaQA",
            splits=_splits("triviaqa", train=78_785, dev=8_837, test=11_313),
            evaluated="test",
            licence="Apache-2.0",
            citation="Joshi et al. 2017, arXiv:1705.03551",
        ),
        Benchmark(
            name="popqa",
            title="PopQA",
            splits=_splits("popqa", test=14_267),
            evaluated="test",
            licence="MIT",
            citation="Mallen et al. 2023, arXiv:2212.10511",
        ),
        Benchmark(
            name="hotpotqa",
            title="HotpotQA",
            splits=_splits("hotpotqa", train=90_447, dev=7_405),
            evaluated="dev",
            licence="CC BY-SA 4.0",
            citation="Yang et al. 2018, arXiv:1809.09600",
        ),
        Benchmark(
            name="2wikimultihopqa",
            title="2WikiMultiHopQA",
            splits=_splits("2wikimultihopqa", train=15_000, dev=12_576),
            evaluated="dev",
            licence="Apache-2.0",
            citation="Ho et al. 2020, arXiv:2011.01060",
        ),
        Benchmark(
            name="musique",
            title="MuSiQue (answerable)",
            splits=_splits("musique", train=19_938, dev=2_417),
            evaluated="dev",
            licence="CC BY 4.0",
            citation="Trivedi et al. 2022, arXiv:2108.00573",
        ),
        Benchmark(
            name="bamboogle",
            title="Bamboogle",
            splits=_splits("bamboogle", test=125),
            evaluated="test",
            licence="MIT",
            citation="Press et al. 2023, arXiv:2210.03350",
        ),
        Benchmark(
            name="nq_hotpotqa",
            title="NQ + HotpotQA, to train on",
            repository=_SEARCH_R1,
            revision="b7d80abfee334a7a91cb377544f09180d58b34f6",
            splits={
                "train": HubFile(
                    "train.parquet", 169_615, "c3cc21e862a8469105de666101578cbff23cdc77e91a803cef102622c89cc4f6"
                ),
                "test": HubFile(
                    "test.parquet", 51_713, "30aa887b6d47e06e8c0f6f5307c88fe4e13461ac25a20ec0a5433ad7a4fe25dc"
                ),
            },
            evaluated=None,
            draw=Draw(size=10_000, seed=42),
            licence="CC BY-SA 3.0 (NQ), CC BY-SA 4.0 (HotpotQA)",
            citation="Jin et al. 2025 (Search-R1), arXiv:2503.09516",
        ),
    )
}
"""Benchmarks by name, in the order of the paper's tables."""
