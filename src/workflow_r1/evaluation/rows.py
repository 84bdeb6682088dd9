"""The append-only log of an evaluation: one row per answer of a method to a question."""

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from workflow_r1.errors import DataError
from workflow_r1.trajectory.records import Record
from workflow_r1.trajectory.storage import append_lines, iterate_lines

ROW_VERSION = 1
"""Version of the rows; a log of another version is refused."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Score = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EvaluationStatus(StrEnum):
    """Status of an answer, or the reason for its absence."""

    ANSWERED = "answered"
    """There is an answer, right or wrong, or a task's episode came to its own end."""
    NO_ANSWER = "no_answer"
    """The method ended without one: counts as wrong."""
    MALFORMED = "malformed"
    """The method's text cannot be read as an answer: counts as wrong."""
    OUT_OF_BUDGET = "out_of_budget"
    """Its turns, calls, tokens or context were used up before it answered: counts as wrong."""
    FAILED = "failed"
    """The infrastructure failed: never scored, counted by itself."""


def _is_none(value: object) -> bool:
    return value is None


class EvaluationRow(Record):
    """One answer of a method to a question. A later row of the same method, benchmark, question, seed and repeat replaces it."""

    schema_version: int = ROW_VERSION
    """Version of this row."""
    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    question_id: str
    """Unique within the benchmark."""
    seed: int = 0
    """Seed of the run: everything trained, searched or drawn under one seed shares it."""
    repeat: Count = 0
    """Number of the answer among several under one seed."""
    status: EvaluationStatus
    """Status of the answer."""
    exact_match: Score | None
    """1 right, 0 wrong; None where the infrastructure failed, and for a task without golden answers."""
    f1: Score | None
    """Token F1, best over the golden answers; None where the infrastructure failed, and for a task without golden answers."""
    success: Score | None = Field(default=None, exclude_if=_is_none)
    """1 where the goal of a task without golden answers was reached, else 0; None where the task does not say."""
    reward: float | None = Field(default=None, allow_inf_nan=False, exclude_if=_is_none)
    """Reward in a task without golden answers; None for any other, and where the infrastructure failed."""
    turns: Count = 0
    """Turns of the method, including the one that answers."""
    llm_calls: Count = 0
    """Calls of LLMs, the policy's own included."""
    tokens: Count | None = 0
    """Tokens sent to and received from LLMs, the policy included; None where a service did not count them."""
    seconds: Amount = 0.0
    """Wall time."""
    cost: Amount | None = None
    """Price in the configuration's currency, paid or answered from a store of calls; None where unknown."""

    @model_validator(mode="after")
    def _is_scored_unless_it_failed(self) -> Self:
        failed = self.status is EvaluationStatus.FAILED
        if self.reward is not None and not failed and self.exact_match is None and self.f1 is None:
            return self
        if (self.exact_match is None) != failed or (self.f1 is None) != failed or self.reward is not None:
            raise ValueError(
                "expected exact_match and f1 (or reward, for a task without golden answers) for every status but 'failed', and "
                f"null for that one, received {self.exact_match}, {self.f1} and {self.reward} for {self.status.value!r}"
            )
        return self


def append_rows(path: Path | str, rows: Iterable[EvaluationRow], *, flush: bool = True) -> None:
    """Append rows to a log, all or none; see :func:`~workflow_r1.trajectory.storage.append_lines`."""
    append_lines(path, (row.model_dump_json() + "\n" for row in rows), flush=flush)


def iterate_rows(path: Path | str) -> Iterator[EvaluationRow]:
    """Read a log row by row. A last row that a crash cut off is left out, with a warning in the log of the program.

    Raises:
        DataError: the file is missing, or a row is not valid; names the line and the field.
    """
    for place, line in iterate_lines(path, of="evaluation rows"):
        try:
            row = EvaluationRow.model_validate_json(line)
        except ValidationError as error:
            raise _explain(line, place, error) from None
        if row.schema_version != ROW_VERSION or "schema_version" not in row.model_fields_set:
            raise _wrong_version(place, row.schema_version if "schema_version" in row.model_fields_set else None)
        yield row


def _explain(line: bytes, place: str, error: ValidationError) -> DataError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as cause:
        return DataError(f"{place}: expected one JSON object per line, found text that is not JSON ({cause})")
    if not isinstance(row, dict):
        return DataError(f"{place}: expected a JSON object, found a {type(row).__name__}")
    if row.get("schema_version") != ROW_VERSION:
        return _wrong_version(place, row.get("schema_version"))
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the row"
    return DataError(f"{place}: {field}: {first['msg']}")


def _wrong_version(place: str, version: object) -> DataError:
    return DataError(
        f"{place}: expected an evaluation row of schema_version {ROW_VERSION}, found {version!r}: read it with the release that "
        "wrote it"
    )
