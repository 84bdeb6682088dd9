"""Stage 1: questions. The layouts that are recognised are listed in ``data.questions``, the benchmarks in ``data.benchmarks``."""

from workflow_r1.data.benchmarks import BENCHMARKS, Benchmark, Draw
from workflow_r1.data.checks import QuestionsReport, fingerprint, overlaps, report_questions
from workflow_r1.data.files import FileFormat
from workflow_r1.data.mixture import draw_questions, mix
from workflow_r1.data.normalise import comparable_answer, normalize_answer
from workflow_r1.data.questions import QuestionField, load_questions, save_questions

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Draw",
    "FileFormat",
    "QuestionField",
    "QuestionsReport",
    "comparable_answer",
    "draw_questions",
    "fingerprint",
    "load_questions",
    "mix",
    "normalize_answer",
    "overlaps",
    "report_questions",
    "save_questions",
]
