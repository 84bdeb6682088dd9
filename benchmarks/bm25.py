"""BM25 beside other engines, and at the size of Wikipedia.

    python benchmarks/bm25.py engines CORPUS QUESTIONS... [--limit 60] [--rounds 5]
    python benchmarks/bm25.py generate CORPUS OUTPUT --passages 5000000
    python benchmarks/bm25.py measure INDEX QUESTIONS... [--limit 60]

QUESTIONS are JSONL whose lines have a ``question``; the first ``--limit`` of each file are asked. ``engines`` indexes CORPUS with
this package, with bm25s and, where it is installed, with tantivy, in a folder for the time being. Every round asks every engine
every question in turn, and medians of CPU time are compared; on a machine that others use, too, only the ratios mean anything.
``generate`` writes a corpus of any size with the statistics of a real one: each passage is one of CORPUS, whose words of less
than one passage in a thousand are replaced, each by one word throughout, drawn as often as they occur, or in 0.06 of cases by
a word that CORPUS lacks, drawn by Zipf's law. ``measure`` opens an index in this process and times each question on one thread.
"""

import argparse
import asyncio
import gzip
import json
import re
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from workflow_r1.retrieval import BM25Index, Passage, iterate_corpus
from workflow_r1.retrieval.tokens import STOPWORDS, Tokenizer

K = 5
COMMON = 1e-3
"""Share of the passages from which on a word is kept."""

NEW = 0.06
"""Share of the replacements that CORPUS lacks."""

MOST_NEW = 8_000_000
"""Words that CORPUS lacks."""

SYLLABLES = [
    a + b
    for a in ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st", "tr", "sh"]
    for b in ["a", "e", "i", "o", "u", "an", "el", "or", "is", "un"]
]


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    for name, run in (("engines", compare_engines), ("generate", generate), ("measure", measure)):
        part = parts.add_parser(name)
        part.set_defaults(run=run)
        part.add_argument("source", type=Path)
        if name == "generate":
            part.add_argument("output", type=Path)
            part.add_argument("--passages", type=int, default=5_000_000)
            part.add_argument("--seed", type=int, default=0)
        else:
            part.add_argument("questions", type=Path, nargs="+")
            part.add_argument("--limit", type=int, default=60)
            part.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.run(arguments)


def read_questions(arguments: argparse.Namespace) -> list[str]:
    """Read the first questions of every file."""
    return [
        json.loads(line)["question"]
        for path in arguments.questions
        for line in path.read_text(encoding="utf-8").splitlines()[: arguments.limit]
    ]


# --------------------------------------------------------------------------------------------------------------- engines


def compare_engines(arguments: argparse.Namespace) -> None:
    """Print CPU milliseconds of a query by engine."""
    questions = read_questions(arguments)
    with tempfile.TemporaryDirectory() as folder:
        ask: dict[str, Callable[[str], object]] = {"this package": ask_ours(arguments.source, Path(folder))}
        ask["bm25s alone"] = ask_bm25s(arguments.source)
        try:
            ask["tantivy"] = ask_tantivy(arguments.source, Path(folder))
        except ImportError:
            print("tantivy is not installed: pip install tantivy")
        seconds: dict[str, list[float]] = {name: [] for name in ask}
        for _ in range(arguments.rounds + 1):
            for name, search in ask.items():
                started = time.process_time()
                for question in questions:
                    search(question)
                seconds[name].append((time.process_time() - started) / len(questions))
    ours = statistics.median(seconds["this package"][1:])
    print(f"| engine, {len(questions)} questions | CPU, ms/query (lowest to highest) | this package by it |")
    print("|---|---|---|")
    for name, (_, *values) in seconds.items():
        middle, spread = statistics.median(values), f"{1e3 * min(values):.2f} to {1e3 * max(values):.2f}"
        print(f"| {name} | {1e3 * middle:.3f} ({spread}) | {ours / middle:.2f} |")


def ask_ours(corpus: Path, folder: Path) -> Callable[[str], list[Passage]]:
    """Search with this package, an index on the disk."""
    index = BM25Index.build(corpus, folder / "index")
    loop = asyncio.new_event_loop()
    return lambda question: loop.run_until_complete(index(question, k=K))


def ask_bm25s(corpus: Path) -> Callable[[str], object]:
    """Search with bm25s and the tokens of this package, in memory; its passages are numbers."""
    import bm25s

    tokenize = Tokenizer()
    rows = [tokenize(f"{passage.title} {passage.text}") for passage in iterate_corpus(corpus)]
    matrix = bm25s.BM25()
    matrix.index(rows, show_progress=False)
    return lambda question: matrix.retrieve([tokenize(question, is_query=True)], k=K, show_progress=False)


def ask_tantivy(corpus: Path, folder: Path) -> Callable[[str], object]:
    """Search with tantivy and its English stemmer, one segment; stop words are taken out of the question, as elsewhere."""
    import tantivy

    (folder / "tantivy").mkdir()
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("body", stored=True, tokenizer_name="en_stem")
    index = tantivy.Index(builder.build(), path=str(folder / "tantivy"))
    writer = index.writer(heap_size=256_000_000, num_threads=1)
    for passage in iterate_corpus(corpus):
        writer.add_document(tantivy.Document(body=[f"{passage.title} {passage.text}"]))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def ask(question: str) -> list[object]:
        words = " ".join(word for word in re.findall(r"\w+", question.lower()) if word not in STOPWORDS)
        hits = searcher.search(index.parse_query(words, ["body"]), K, count=False).hits
        return [searcher.doc(address)["body"] for _, address in hits]

    return ask


# -------------------------------------------------------------------------------------------------------------- generate


def generate(arguments: argparse.Namespace) -> None:
    """Write a corpus."""
    texts = [re.split(r"(\w+)", passage.text) for passage in iterate_corpus(arguments.source)]
    counts, passages = Counter[str](), Counter[str]()
    for parts in texts:
        counts.update(parts[1::2])
        passages.update(set(parts[1::2]))
    common = {word for word, number in passages.items() if number >= len(texts) * COMMON}
    templates = []
    for parts in texts:
        places: dict[str, list[int]] = {}
        for place in range(1, len(parts), 2):
            if parts[place] not in common:
                places.setdefault(parts[place], []).append(place)
        templates.append((parts, list(places.values())))
    rng = np.random.default_rng(arguments.seed)
    words = draw_words({word: number for word, number in counts.items() if word not in common}, rng)
    opened = gzip.open if arguments.output.suffix == ".gz" else open
    with opened(arguments.output, "wt", encoding="utf-8") as file:
        for number in range(arguments.passages):
            if number % 100_000 == 0:
                picked = rng.integers(0, len(templates), 100_000).tolist()
            parts, slots = templates[picked[number % 100_000]]
            parts = parts.copy()
            for places_of_one in slots:
                word = next(words)
                for place in places_of_one:
                    parts[place] = word
            row = {"id": str(number), "title": " ".join(islice(words, 2)), "text": "".join(parts)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def draw_words(counts: dict[str, int], rng: np.random.Generator) -> Iterator[str]:
    """Yield words as often as they occur, some of them new."""
    at_once = 1_000_000
    known = list(counts)
    shares = np.cumsum(list(counts.values())) / sum(counts.values())
    while True:
        drawn = np.searchsorted(shares, rng.random(at_once)).tolist()
        is_new = (rng.random(at_once) < NEW).tolist()
        ranks = np.exp(rng.random(at_once) * np.log(MOST_NEW)).astype(int).tolist()
        for number, new, rank in zip(drawn, is_new, ranks, strict=True):
            yield make_word(rank) if new else known[min(number, len(known) - 1)]


def make_word(rank: int) -> str:
    """Return a word of syllables, another one for each rank."""
    rank += len(SYLLABLES) ** 2
    word = ""
    while rank:
        rank, syllable = divmod(rank, len(SYLLABLES))
        word += SYLLABLES[syllable]
    return word.capitalize()


# --------------------------------------------------------------------------------------------------------------- measure


def measure(arguments: argparse.Namespace) -> None:
    """Print how long an index takes to open and to answer."""
    questions = read_questions(arguments)
    started = time.perf_counter()
    index = BM25Index.open(arguments.source)
    print(f"{len(index):,} passages opened in {time.perf_counter() - started:.2f} s")
    for name in ("first", *["again"] * (arguments.rounds - 1)):
        walls, cpus = [], []
        for question in questions:
            wall, cpu = time.perf_counter(), time.thread_time()
            index._find(index._tokenize(question, is_query=True), K)
            walls.append(1e3 * (time.perf_counter() - wall))
            cpus.append(1e3 * (time.thread_time() - cpu))
        print(f"{name}: wall {show(walls)}; CPU {show(cpus)}")
    print(f"peak memory, mapped pages included: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def show(milliseconds: list[float]) -> str:
    """Return mean and percentiles."""
    cuts = statistics.quantiles(milliseconds, n=100)
    return (
        f"{statistics.mean(milliseconds):.1f} ms mean, {cuts[49]:.1f} median, {cuts[94]:.1f} 95%, {cuts[98]:.1f} 99%, "
        f"{max(milliseconds):.1f} most"
    )


if __name__ == "__main__":
    main()
