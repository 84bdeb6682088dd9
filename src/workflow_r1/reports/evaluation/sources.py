"""The directories of evaluations: their cards, their rows, and their methods' spending on searches."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_r1.errors import DataError, found_at
from workflow_r1.evaluation.card import CARD
from workflow_r1.evaluation.harness import ROWS, SEARCHES, as_file_name
from workflow_r1.evaluation.rows import EvaluationRow, iterate_rows
from workflow_r1.methods.bounds import ORACLE_CHOICE, ORACLE_SCRIPT
from workflow_r1.methods.method import WITH_SEARCH
from workflow_r1.methods.searching import SUMMARY
from workflow_r1.reports.evaluation.record import SearchCost

SERVICES = "services.json"

CEILINGS = {method.name.removesuffix(WITH_SEARCH) for method in (*ORACLE_CHOICE, *ORACLE_SCRIPT)}
"""Methods that look at golden answers."""

MAX_DEPTH = 32
"""Levels of a card."""

SAME_METHOD = ("llm", "search", "scoring", "prompts")
"""Parts of a card that answers depend on: two methods of one name with different parts are different methods."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation's directory, opened."""

    directory: Path
    """Directory of the evaluation."""
    name: str
    """Name that no other evaluation of the report has."""
    card: Mapping[str, Any]
    """Evaluation card; empty where there is no card."""
    labels: Mapping[str, str]
    """Name of a method there -> its name in the report."""

    def rows(self) -> Iterator[EvaluationRow]:
        """Read its rows, their methods named as in the report.

        Raises:
            DataError: a row is not valid.
        """
        for row in iterate_rows(self.directory / ROWS):
            label = self.labels[row.method]
            yield row if label == row.method else row.model_copy(update={"method": label})

    @property
    def currency(self) -> str | None:
        """Currency of its costs; None where neither its card nor its bill of services names one."""
        bill = self.directory / SERVICES
        found = self.card.get("currency") or (read_json(bill) if bill.is_file() else {}).get("currency")
        return found if isinstance(found, str) else None

    def described(self, part: str, name: str) -> Any:
        """Return the card's description of a method or benchmark; None where it has no description."""
        described = self.card.get(part)
        return described.get(name) if isinstance(described, Mapping) else None

    def kind_of(self, method: str) -> str:
        """Return the method behind a name there, with or without search."""
        described = self.described("methods", method)
        kind = described.get("method") if isinstance(described, Mapping) else None
        return (kind if isinstance(kind, str) else method).removesuffix(WITH_SEARCH)

    def is_ceiling(self, method: str) -> bool:
        """Return True where a method looks at golden answers."""
        return self.kind_of(method) in CEILINGS

    def searches(self, num_answers: Mapping[tuple[str, str], int]) -> list[SearchCost]:
        """Read its methods' spending before their first answer; a search without a summary has not ended.

        Args:
            num_answers: scored answers by method and name of the seed's directory.

        Raises:
            DataError: a summary is not a JSON object.
        """
        costs = []
        by_folder = {as_file_name(method): label for method, label in self.labels.items()}
        for path in sorted((self.directory / SEARCHES).glob(f"*/*/{SUMMARY}")):
            folder, seed = path.parent.parent.name, path.parent.name
            method = by_folder.get(folder, folder)
            summary = read_json(path)
            amounts = {key: _amount(summary.get(key)) for key in ("llm_calls", "tokens", "seconds", "cost")}
            costs.append(
                SearchCost(
                    method=method, seed=seed, **amounts, found=_tell_found(summary.get("found")),
                    num_answers=num_answers.get((method, seed), 0),
                )
            )  # fmt: skip
        return costs


def is_evaluation(directory: Path | str) -> bool:
    """Return True for the directory of an evaluation of methods, False for that of a training run."""
    return any((Path(directory) / name).is_file() for name in (CARD, ROWS))


def open_evaluations(
    directories: Sequence[Path | str], *, methods: Sequence[Collection[str]] | None = None
) -> tuple[Evaluation, ...]:
    """Open the directories to compare.

    A method of several directories is one method where their cards describe it and its dependencies alike. Otherwise it
    is several methods, each with its directory's name behind its own.

    Args:
        directories: directories of the evaluations.
        methods: methods with rows in each, where they are known already.

    Raises:
        DataError: one is not the directory of an evaluation, or holds no answer yet.
    """
    paths = list(dict.fromkeys(Path(directory).resolve() for directory in directories))
    for path, given in zip(paths, directories, strict=False):
        if not path.is_dir():
            raise DataError(f"expected the directory of an evaluation, found {found_at(Path(given))}")
        if not (path / ROWS).is_file():
            raise DataError(
                f"expected the directory of an evaluation with {ROWS}, found none in {path}: no answer yet?"
            )
    names = _unlike_names(paths)
    cards = [read_json(path / CARD) if (path / CARD).is_file() else {} for path in paths]
    methods = methods or [list(dict.fromkeys(row.method for row in iterate_rows(path / ROWS))) for path in paths]
    evaluations = []
    for index, path in enumerate(paths):
        labels = {}
        for method in methods[index]:
            others = [cards[other] for other in range(len(paths)) if method in methods[other]]
            is_one = len(others) == 1 or (
                bool(cards[index]) and all(_agree(cards[index], card, method) for card in others)
            )
            labels[method] = method if is_one else f"{method} ({names[index]})"
        evaluations.append(Evaluation(directory=path, name=names[index], card=cards[index], labels=labels))
    return tuple(evaluations)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        DataError: it holds something else.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object, found a {type(found).__name__}")
    inside: list[Any] = [found]
    depth = 0
    while inside := [
        value
        for each in inside
        for value in (each.values() if isinstance(each, dict) else each)
        if isinstance(value, dict | list)
    ]:
        depth += 1
        if depth > MAX_DEPTH:
            raise DataError(f"{path}: expected JSON of at most {MAX_DEPTH} levels, found more")
    return found


def _agree(card: Mapping[str, Any], other: Mapping[str, Any], method: str) -> bool:
    def parts(of: Mapping[str, Any]) -> list[Any]:
        methods = of.get("methods")
        described = methods.get(method) if isinstance(methods, Mapping) else None
        return [described, *(of.get(key) for key in SAME_METHOD)]

    return parts(card) == parts(other)


def _unlike_names(paths: Sequence[Path]) -> list[str]:
    names = [path.name for path in paths]
    return [path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}" for path in paths]


def _tell_found(found: object) -> str:
    """Describe the result of a search in a line: the operators of a workflow, the plain values of the rest."""
    if not isinstance(found, Mapping):
        return "" if found is None else str(found)
    told = [f"{key} {value}" for key, value in found.items() if isinstance(value, str | int | float)]
    graph = found.get("graph")
    nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
    if isinstance(nodes, list):
        told.append("workflow " + ", ".join(str(node.get("operator")) for node in nodes if isinstance(node, Mapping)))
    return ", ".join(told)


def _amount(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < float("inf") else None  # type: ignore[arg-type]
