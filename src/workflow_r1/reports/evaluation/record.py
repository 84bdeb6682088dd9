"""The one record that every form of an evaluation's report is written from."""

from enum import StrEnum

from pydantic import JsonValue

from workflow_r1.evaluation.comparison import Comparison
from workflow_r1.evaluation.published import PublishedFigure
from workflow_r1.evaluation.statistics import Interval
from workflow_r1.trajectory.records import Record

REPORT_VERSION = 1
"""Version of ``report.json``."""


class Outcome(StrEnum):
    """What became of an answer: its status, and of what was answered, whether it is right."""

    RIGHT = "right"
    """Exact match with a golden answer."""
    WRONG = "wrong"
    """An answer that matches none."""
    NO_ANSWER = "no_answer"
    """The method ended without one."""
    MALFORMED = "malformed"
    """What it wrote cannot be read as an answer."""
    OUT_OF_BUDGET = "out_of_budget"
    """Its turns, calls or tokens were used up before it answered."""
    FAILED = "failed"
    """The infrastructure failed: in no figure."""


class Source(Record):
    """One evaluation's directory."""

    name: str
    """What the report calls it."""
    directory: str
    """Where it is."""
    card: dict[str, JsonValue]
    """Its evaluation card; empty where there is none."""


class Outcomes(Record):
    """How the answers of a method to a benchmark ended."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    counts: dict[Outcome, int]
    """Answers of each kind, all kinds."""


class SearchCost(Record):
    """What a method took before it answered anything: its search or its training. None where it was not written down."""

    method: str
    """Name of the method."""
    seed: str
    """The seed's directory."""
    llm_calls: float | None
    """Calls of LLMs."""
    tokens: float | None
    """Tokens sent and received."""
    seconds: float | None
    """Wall time."""
    cost: float | None
    """Price."""
    found: str
    """What it found, in its own words."""


class ClassFigure(Record):
    """What a method reached on one class of a benchmark's questions."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    question_class: str
    """What the questions' file calls it."""
    num_questions: int
    """Questions that the score rests on."""
    num_left_out: int
    """Questions of the class without a score under some seed."""
    score: Interval | None
    """Mean over its questions; None where none was scored."""
    if_left_out_wrong: float
    """The same over all its questions that were asked, where what was left out counts as wrong."""


class OperatorMix(Record):
    """What a method called."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    num_answers: int
    """Scored answers whose trajectories were read."""
    calls: dict[str, float]
    """Mean calls of each operator per answer, the most called first."""


class Example(Record):
    """One answer, shortened."""

    outcome: Outcome
    """What became of it."""
    method: str
    """Who answered."""
    benchmark: str
    """Where the question is from."""
    question_id: str
    """Its id there."""
    question: str
    """What was asked."""
    golden_answers: tuple[str, ...]
    """What is right."""
    answer: str | None
    """What was answered."""
    last_turn: str
    """What the method wrote last."""
    error: str | None
    """What failed."""


class BesideThePaper(Record):
    """One of our figures and what the paper prints for the same."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    exact_match: Interval
    """Ours."""
    published: tuple[PublishedFigure, ...]
    """The paper's, one for each operator LLM."""


class EvaluationReport(Record):
    """What the recorded answers of one or several evaluations show."""

    schema_version: int = REPORT_VERSION
    """Version of this record."""
    title: str
    """Of the report."""
    is_simulation: bool
    """Whether any of the evaluations says that it is one."""
    sources: tuple[Source, ...]
    """The evaluations, in the order given."""
    currency: str | None
    """Of all costs; None where the evaluations do not say, or differ."""
    methods: tuple[str, ...]
    """In the order of the tables."""
    benchmarks: tuple[str, ...]
    """In the order of the tables."""
    ceilings: tuple[str, ...]
    """Methods that look at golden answers: on no frontier, and never marked as the best."""
    caveats: tuple[str, ...]
    """What a reader must know before reading a figure."""
    comparison: Comparison
    """Figures, tests, frontiers and means."""
    outcomes: tuple[Outcomes, ...]
    """How answers ended."""
    searches: tuple[SearchCost, ...]
    """What was spent before the first answer."""
    classes: tuple[ClassFigure, ...]
    """By class of question, where a benchmark has several and the trajectories are there."""
    operators: tuple[OperatorMix, ...]
    """What was called, where the trajectories are there."""
    examples: tuple[Example, ...]
    """A few answers of each kind."""
    beside_the_paper: tuple[BesideThePaper, ...]
    """Where the paper has a figure for the same method and benchmark."""
