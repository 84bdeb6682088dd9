"""Stage 1: questions from the files in which the benchmarks are published.

A row's columns tell its layout. The first of these whose question and first answer column are there is taken:

| question | answers, pooled | published so by |
|---|---|---|
| ``question`` or ``Question``, with | | |
| | ``golden_answers`` | this project, FlashRAG, Search-R1 |
| | ``possible_answers`` | PopQA |
| | ``answer.value``, ``answer.aliases``, ``answer.normalized_aliases`` | TriviaQA on the hub |
| | ``Answer.Value``, ``Answer.Aliases``, ``Answer.NormalizedAliases`` | TriviaQA |
| | ``answer``, ``answer_aliases`` | NQ-open, HotpotQA, 2WikiMultiHopQA, MuSiQue |
| | ``Answer`` | Bamboogle |
| | ``answers.text``, else ``answers`` | SQuAD's form, and DPR's of NQ and TriviaQA |
| | ``reward_model.ground_truth.target`` | Search-R1 without its FlashRAG columns |

A golden answer is text. Numbers become text, whole ones without a fraction (``1937.0`` is ``1937``), and truth values become
*yes* and *no* (StrategyQA, BoolQ; in tables, which hold text alone, where every answer is *True* or *False*). In a column
that holds several answers, a list of texts that is written as text is that list (tables, which cannot hold one;
``possible_answers`` of PopQA, whatever the list holds). In a column of single answers (``answer``) text is text:
``[1.95, 3.58]`` is one answer.
"""

import ast
import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

from workflow_r1.data.files import SUFFIXES, FileFormat, Row, is_table, read_rows
from workflow_r1.data.mixture import Duplicates, prefix_id
from workflow_r1.errors import DataError
from workflow_r1.trajectory import Question
from workflow_r1.trajectory.storage import write_atomically

logger = logging.getLogger(__name__)

QuestionField = Literal["id", "question", "golden_answers", "dataset", "split"]
"""Field of a question that a column of the user's own may fill."""

_ID_COLUMNS = ("id", "_id", "QuestionId", "question_id", "qid")

_BULKY_COLUMNS = frozenset(
    {
        *("context", "paragraphs", "prompt", "reward_model", "ability", "extra_info"),
        *("EntityPages", "SearchResults", "entity_pages", "search_results", "ctxs", "positive_ctxs", "negative_ctxs"),
        *("hard_negative_ctxs", "passage"),
    }
)
"""Left out of the metadata: passages and rendered prompts. Every trajectory carries its question's metadata."""

_COMMON_SPLITS = frozenset({"train", "dev", "test", "val", "valid", "validation"})

_SHARD = re.compile(r"-\d+-of-\d+$")
"""The hub's numbering of the parts of a split: ``test-00000-of-00001.parquet``."""

_SINGLE_ANSWERS = frozenset({"answer", "Answer", "answer.value", "Answer.Value"})
"""Columns that hold one answer each: text there is never a list, even where it looks like one."""

_LISTS_AS_TEXT = frozenset({"possible_answers"})
"""Columns whose publishers write every list as text (PopQA)."""

_WHOLE_NUMBER = re.compile(r"(-?\d+)\.0", re.ASCII)
"""Whole numbers as pandas writes them in a column in which others are missing."""

_SECRET_ANSWER = "<unk>"
"""TriviaQA's placeholder on the hub for the secret answers of its test split."""

_UNANSWERABLE = (False, "false", "False")

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns of question and answers in a row. A dotted name leads into nested objects."""

    question: str
    answers: tuple[str, ...]

    def fits(self, row: Row) -> bool:
        return _look_up(row, self.question) is not _ABSENT and _look_up(row, self.answers[0]) is not _ABSENT


_ANSWER_COLUMNS = (
    ("golden_answers",),
    ("possible_answers",),
    ("answer.value", "answer.aliases", "answer.normalized_aliases"),
    ("Answer.Value", "Answer.Aliases", "Answer.NormalizedAliases"),
    ("answer", "answer_aliases"),
    ("Answer",),
    ("answers.text",),
    ("answers",),
    ("reward_model.ground_truth.target",),
)

_LAYOUTS = tuple(_Layout(question, answers) for question in ("question", "Question") for answers in _ANSWER_COLUMNS)


def load_questions(
    path: Path | str,
    *,
    format: FileFormat = "auto",
    limit: int | None = None,
    columns: Mapping[QuestionField, str] | None = None,
    dataset: str | None = None,
    split: str | None = None,
    prefix_ids: bool = False,
    drop_duplicates: bool = False,
) -> list[Question]:
    """Read questions from a file of any of the layouts above.

    Columns that have no field of their own go into ``metadata`` (passages, rendered prompts and empty cells are left
    out, a nested ``metadata`` is merged). Rows marked ``answerable: false`` (half of MuSiQue's full form) are left out,
    with a warning in the log that counts them. Where rows have no id they get ``dataset-1``, ``dataset-2``, ... Rows of
    a mixture, which name their dataset in ``data_source``, number themselves anew in each dataset: their ids become
    ``dataset/id``.

    Args:
        path: a JSONL, JSON, CSV, TSV or parquet file.
        format: format of the file; ``auto`` decides by its name.
        limit: read only the first so many questions.
        columns: the file's own column names for ``question`` and ``golden_answers`` (both or either) and optionally
            ``id``, ``dataset``, ``split``. A dotted name goes into nested objects: ``reward_model.ground_truth.target``.
        dataset: name for all questions. By default the column ``dataset`` or ``data_source``, else the name of the file,
            or of its folder where the file is named after a split (``nq/test.jsonl``).
        split: name for all questions. By default the column ``split``, else the split that the file is named after, as in
            ``test.jsonl``, ``NQ-open.train.jsonl``, ``test-00000-of-00001.parquet``.
        prefix_ids: make every id ``dataset/id``.
        drop_duplicates: leave out rows that say the same as an earlier one, ids included, with a warning that counts them.

    Returns:
        The questions in the order of the file, at least one.

    Raises:
        DataError: the file is missing, empty or malformed (names the line); a column is missing (names it); a question is
            empty or has no answer; questions have the same id (names all of them).
        MissingExtraError: the file is parquet and pyarrow is not installed.
        ValueError: ``limit`` is below 1, or ``columns`` maps a field that does not exist.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise ValueError(f"expected a limit of at least 1, received {limit}")
    mapping = dict(columns or {})
    fields = get_args(QuestionField)
    unknown = sorted(set(mapping) - set(fields))
    if unknown:
        raise ValueError(f"expected columns to map {', '.join(fields)}; received {', '.join(unknown)}")

    default_dataset, default_split = _names_of(path)
    from_table = False
    num_unanswerable = 0
    questions: list[Question] = []
    duplicates = Duplicates()
    layout: _Layout | None = None
    for place, row in read_rows(path, format):
        if layout is None:
            layout, from_table = _choose_layout(row, mapping, place), is_table(path, format)
        if row.get("answerable") in _UNANSWERABLE:
            num_unanswerable += 1
            continue
        name = dataset or _text_of(row, mapping.get("dataset"), ("dataset",), place)
        source = "" if name else _text_of(row, None, ("data_source",), place)
        name = name or source or default_dataset
        own_id = _text_of(row, mapping.get("id"), _ID_COLUMNS, place)
        question = Question(
            id=own_id or f"{name}-{len(questions) + 1}",
            text=_question_of(row, layout, place),
            golden_answers=_answers_of(row, layout, place, from_table=from_table),
            dataset=name,
            split=split or _text_of(row, mapping.get("split"), ("split",), place) or default_split,
            metadata=_metadata_of(row, layout, mapping),
        )
        if prefix_ids or source:
            question = prefix_id(question)
        if duplicates.see(question, place, has_id=bool(own_id)) and drop_duplicates:
            continue
        questions.append(question)
        if limit is not None and len(questions) == limit:
            break
    if from_table:
        questions = _with_truth_values(questions)
    duplicates.refuse(but_identical=drop_duplicates)
    if drop_duplicates and duplicates.num_identical:
        logger.warning("%s: left out %d rows that say the same as an earlier one", path, duplicates.num_identical)
    if num_unanswerable:
        logger.warning("%s: left out %d questions that are marked unanswerable", path, num_unanswerable)
    if not questions:
        found = f"{num_unanswerable} unanswerable ones" if num_unanswerable else "an empty file"
        raise DataError(f"{path}: expected at least one question, found {found}")
    return questions


def save_questions(path: Path | str, questions: Iterable[Question]) -> None:
    """Write questions as JSONL of ``id, question, golden_answers, dataset, split, metadata``, which ``load_questions`` and
    FlashRAG read. The file appears whole or not at all.
    """
    lines = []
    for question in questions:
        row: Row = {"id": question.id, "question": question.text, "golden_answers": question.golden_answers}
        row |= {name: value for name in ("dataset", "split") if (value := getattr(question, name))}
        row |= {"metadata": question.metadata} if question.metadata else {}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_atomically(path, "".join(lines))


def _names_of(path: Path) -> tuple[str, str]:
    """Return dataset and split as a file's name and folder tell them; the split is empty where they do not."""
    name = path.name.lower()
    suffixes = [*(f"{suffix}.gz" for suffix in SUFFIXES), *SUFFIXES]
    length = next((len(suffix) for suffix in suffixes if name.endswith(suffix)), len(path.suffix))
    stem = _SHARD.sub("", path.name[: len(path.name) - length])
    if stem in _COMMON_SPLITS:
        return path.resolve().parent.name, stem
    dataset, _, split = stem.rpartition(".")
    return (dataset, split) if dataset and split in _COMMON_SPLITS else (stem, "")


def _choose_layout(row: Row, mapping: Mapping[QuestionField, str], place: str) -> _Layout:
    """Return the columns of question and answers in this file, from its first row and the user's mapping."""
    fields: tuple[QuestionField, ...] = ("question", "golden_answers")
    for field in fields:
        if field in mapping:
            _demand(row, mapping[field], place)
    candidates = [
        _Layout(
            mapping.get("question", layout.question),
            (mapping["golden_answers"],) if "golden_answers" in mapping else layout.answers,
        )
        for layout in _LAYOUTS
    ]
    for candidate in candidates:
        if candidate.fits(row):
            return candidate
    found = ", ".join(map(str, row)) or "none"
    if all(_look_up(row, layout.question) is _ABSENT for layout in candidates):
        names = " or ".join(dict.fromkeys(repr(layout.question) for layout in candidates))
        raise DataError(f"{place}: expected a column {names}, found {found}: {_say_column('question')}")
    names = " or ".join(dict.fromkeys(repr(layout.answers[0]) for layout in candidates))
    raise DataError(f"{place}: expected a column {names}, found {found}: {_say_column('golden_answers')}")


def _say_column(field: QuestionField) -> str:
    return (
        f'map your column to {field!r}: data.columns = {{ {field} = "YOUR COLUMN" }} in the configuration, '
        f"`--column {field}=COLUMN` of `workflow-r1 data`"
    )


def _look_up(row: Row, column: str) -> Any:
    """Return a column's value, following the dots into nested objects; ``_ABSENT`` where it is missing."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _demand(row: Row, column: str, place: str) -> Any:
    value = _look_up(row, column)
    if value is _ABSENT:
        raise DataError(f"{place}: expected a column {column!r}, found {', '.join(map(str, row)) or 'none'}")
    return value


def _text_of(row: Row, mapped: str | None, candidates: tuple[str, ...], place: str) -> str:
    """Return a short text or number as text, of the first column that is not empty; empty where the row has none and no
    column was mapped to it.
    """
    if mapped is not None:
        _demand(row, mapped, place)
    for column in candidates if mapped is None else (mapped,):
        value = _look_up(row, column)
        if value is _ABSENT or _is_missing(value):
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise DataError(f"{place}: expected text or a number in {column!r}, found {value!r:.80}")
        if text := _without_lone_surrogates(str(value)).strip():
            return text
    return ""


def _question_of(row: Row, layout: _Layout, place: str) -> str:
    value = _demand(row, layout.question, place)
    if not isinstance(value, str):
        raise DataError(f"{place}: expected the text of a question in {layout.question!r}, found {value!r:.80}")
    text = _without_lone_surrogates(value).strip()
    if not text:
        raise DataError(f"{place}: expected the text of a question in {layout.question!r}, found an empty one")
    return text


def _answers_of(row: Row, layout: _Layout, place: str, *, from_table: bool) -> tuple[str, ...]:
    """Return the non-blank answers of all answer columns, each once, in order."""
    _demand(row, layout.answers[0], place)
    answers: list[str] = []
    for column in layout.answers:
        value = _look_up(row, column)
        if column in _SINGLE_ANSWERS and type(value) is int and isinstance(row.get("choices"), list):
            raise DataError(
                f"{place}: expected the text of an answer in {column!r}, found {value}, which counts the entries of 'choices': "
                "write the chosen text there, and the choices into the question"
            )
        if value is not _ABSENT:
            if from_table and isinstance(value, str) and (whole := _WHOLE_NUMBER.fullmatch(value.strip())):
                value = whole.group(1)
            answers.extend(_answers_in(value, column, place))
    found = tuple(dict.fromkeys(answer for answer in answers if answer and answer != _SECRET_ANSWER))
    if not found:
        raise DataError(
            f"{place}: expected at least one answer in {layout.answers[0]!r}, found none: give one, or leave the row out"
        )
    return found


def _with_truth_values(questions: list[Question]) -> list[Question]:
    """Return the questions of a table; where each answer is a truth value as pandas or a spreadsheet writes it, with *yes* and *no*."""
    words = {"true": "yes", "false": "no"}
    answers = [[words.get(answer.lower(), "") for answer in question.golden_answers] for question in questions]
    if not all(map(all, answers)):
        return questions
    return [
        question.model_copy(update={"golden_answers": tuple(said)})
        for question, said in zip(questions, answers, strict=True)
    ]


def _answers_in(value: object, column: str, place: str) -> Iterable[str]:
    """Return the answers of one cell: a text, a number, a truth value, a list of these, or such a list written as text."""
    if isinstance(value, str):
        parsed = _list_in(value, column, place)
        if parsed is None:
            return [_without_lone_surrogates(value).strip()]
        value = parsed
    answers: list[str] = []
    for part in value if isinstance(value, list | tuple) else [value]:
        if isinstance(part, list | tuple):
            answers.extend(_answers_in(part, column, place))
        elif isinstance(part, str):
            answers.append(_without_lone_surrogates(part).strip())
        elif _is_missing(part):
            continue
        elif isinstance(part, bool):
            answers.append("yes" if part else "no")
        elif isinstance(part, int | float | Decimal) and math.isfinite(part):
            answers.append(_digits_of(part))
        else:
            raise DataError(
                f"{place}: expected text or a list of texts in {column!r}, found {part!r:.80}: write it as the text that an "
                "answer is to match"
            )
    return answers


def _digits_of(number: int | float | Decimal) -> str:
    """Return a number as people write it: all of its shortest digits, no exponent, no fraction where it is whole."""
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    text = format(exact, "f")
    whole, _, fraction = text.partition(".")
    text = whole if not fraction.strip("0") else text
    return "0" if text == "-0" else text


def _list_in(text: str, column: str, place: str) -> list[Any] | None:
    """Return the list that a cell holds as JSON (PopQA), or as Python prints it (pandas); None where it is plain text."""
    text = text.strip()
    if column in _SINGLE_ANSWERS or not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        if not text.startswith(("['", '["')):
            return None
        try:
            parsed = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            parsed = None
        # NumPy prints no commas, and Python would read ['a' 'b'] as one text.
        if repr(parsed) != text:
            raise DataError(
                f"{place}: expected a JSON list in {column!r}, found neither that nor a Python list: {text:.80}"
            ) from None
    if isinstance(parsed, list) and (column in _LISTS_AS_TEXT or all(isinstance(part, str) for part in parsed)):
        return parsed
    return None


def _metadata_of(row: Row, layout: _Layout, mapping: Mapping[QuestionField, str]) -> dict[str, Any]:
    """Return the columns that have no field of their own."""
    used = {layout.question, *layout.answers, *mapping.values(), *_ID_COLUMNS, "dataset", "data_source", "split"}
    used |= {column.split(".")[0] for column in used} | _BULKY_COLUMNS
    nested = row.get("metadata")
    merged = {**row, **nested} if isinstance(nested, dict) else row
    skipped = used | ({"metadata"} if isinstance(nested, dict) or nested is None else set())
    # Parquet gives every row of a mixture the columns of all its datasets.
    return {str(key): _as_json(value) for key, value in merged.items() if key not in skipped and not _is_missing(value)}


def _is_missing(value: object) -> bool:
    """Return True for an empty cell; pandas writes NaN for it."""
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def _as_json(value: object) -> Any:
    """Return a value that JSON can hold: unknown types become text, NaN and infinities nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _without_lone_surrogates(value)
    if isinstance(value, list | tuple):
        return [_as_json(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _as_json(part) for key, part in value.items()}
    return str(value)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _without_lone_surrogates(text: str) -> str:
    """Replace lone surrogates: JSON's escapes can write them, but no UTF-8 file and no tokenizer takes them."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
