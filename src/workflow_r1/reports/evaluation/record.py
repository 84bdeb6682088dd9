"""The one record that every form of an evaluation's report is written from."""

from pydantic import JsonValue

from workflow_r1.evaluation.comparison import Comparison
from workflow_r1.evaluation.published import PublishedFigure
from workflow_r1.evaluation.statistics import Interval
from workflow_r1.trajectory.outcome import Outcome
from workflow_r1.trajectory.records import Record

REPORT_VERSION = 1
"""Version of ``report.json``."""


class Source(Record):
    """One evaluation's directory."""

    name: str
    """Name of the evaluation in the report."""
    directory: str
    """Directory of the evaluation."""
    card: dict[str, JsonValue]
    """Its evaluation card; empty where there is no card."""


class Outcomes(Record):
    """Outcomes of a method's answers to a benchmark."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    counts: dict[Outcome, int]
    """Answers of each kind, all kinds."""


class SearchCost(Record):
    """Cost of a method before its first answer: its search or its training. None where it was not written down."""

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
    """Result of the search, in its own words."""
    num_answers: int
    """Scored answers under its seed, on all benchmarks."""


class ClassFigure(Record):
    """Figures of a method on one class of a benchmark's questions."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    question_class: str
    """Name of the class in the questions' file."""
    num_questions: int
    """Questions that the score rests on."""
    num_left_out: int
    """Questions of the class without a score under some seed."""
    score: Interval | None
    """Mean over its questions; None where no answer was scored."""
    if_left_out_wrong: float
    """The same over all its questions that were asked, where everything left out counts as wrong."""


class OperatorMix(Record):
    """Operators that a method called."""

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
    """Outcome of the answer."""
    method: str
    """Method that answered."""
    benchmark: str
    """Benchmark of the question."""
    question_id: str
    """Its id there."""
    question: str
    """The question."""
    golden_answers: tuple[str, ...]
    """Golden answers of the question."""
    answer: str | None
    """Answer of the method."""
    last_turn: str
    """Last turn of the method."""
    error: str | None
    """Error of the failed part."""


class BesideThePaper(Record):
    """One of our figures beside the same figure of the paper."""

    method: str
    """Name of the method."""
    benchmark: str
    """Name of the benchmark."""
    exact_match: Interval
    """Ours."""
    published: tuple[PublishedFigure, ...]
    """The paper's, one for each operator LLM."""


class EvaluationReport(Record):
    """Findings from the recorded answers of one or several evaluations."""

    schema_version: int = REPORT_VERSION
    """Version of this record."""
    title: str
    """Title of the report."""
    is_simulation: bool
    """True where any of the evaluations says that it is a simulation."""
    sources: tuple[Source, ...]
    """The evaluations, in the order given."""
    currency: str | None
    """Currency of all costs; None where the evaluations do not say, or differ."""
    methods: tuple[str, ...]
    """Methods in the order of the tables."""
    benchmarks: tuple[str, ...]
    """Benchmarks in the order of the tables."""
    ceilings: tuple[str, ...]
    """Methods that look at golden answers: on no frontier, and never marked as the best."""
    caveats: tuple[str, ...]
    """Warnings that a reader needs before reading a figure."""
    comparison: Comparison
    """Figures, tests, frontiers and means."""
    outcomes: tuple[Outcomes, ...]
    """Outcomes of the answers."""
    searches: tuple[SearchCost, ...]
    """Costs before the first answer."""
    classes: tuple[ClassFigure, ...]
    """Figures by class of question, where a benchmark has several and the trajectories are there."""
    operators: tuple[OperatorMix, ...]
    """Called operators, where the trajectories are there."""
    examples: tuple[Example, ...]
    """A few answers of each kind."""
    beside_the_paper: tuple[BesideThePaper, ...]
    """Figures of the paper, where it has one for the same method and benchmark."""
