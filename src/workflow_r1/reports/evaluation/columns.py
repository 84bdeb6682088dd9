"""A report as CSV: one row per method and benchmark, every figure in a column of its own."""

import csv
import io

from workflow_r1.printable import printable
from workflow_r1.reports.evaluation.record import EvaluationReport
from workflow_r1.trajectory.outcome import Outcome

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
"""A cell that starts so is taken for a formula by some spreadsheet, and may then call a program or an address."""


def write_columns(report: EvaluationReport) -> str:
    """Put the figures of a report into CSV; an unknown figure is an empty cell."""
    tests = {
        (test.method, test.benchmark): test
        for test in report.comparison.tests
        if test.figure == report.comparison.figure
    }
    outcomes = {(each.method, each.benchmark): each.counts for each in report.outcomes}
    published = {
        (each.method, each.benchmark, figure.operator_llm): figure.value
        for each in report.beside_the_paper
        for figure in each.published
    }
    llms = sorted({llm for _, _, llm in published}, key=str)
    # Further columns only where there is something in them: the others stay where programs look for them.
    others = [name for name in ("success", "reward") if any(getattr(row, name) for row in report.comparison.figures)]
    header = [
        "method", "benchmark", "is_simulation", "questions", "left_out", "seeds", "answers",
        "exact_match", "exact_match_low", "exact_match_high", "f1", "f1_low", "f1_high", "confidence",
        "answers_left_out", "exact_match_if_left_out_wrong", "f1_if_left_out_wrong",
        "turns", "llm_calls", "tokens", "seconds", "cost", *(f"num_{outcome}" for outcome in Outcome),
        "reference", "compared", "difference", "difference_low", "difference_high", "p", "p_corrected", "test",
        *(f"paper ({llm or 'LLM not stated'})" for llm in llms),
        *(f"{name}{end}" for name in others for end in ("", "_low", "_high")),
    ]  # fmt: skip
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in report.comparison.figures:
        key = row.method, row.benchmark
        test = tests.get(key)
        cells: list[object] = [
            row.method, row.benchmark, report.is_simulation, row.num_questions, row.num_left_out, row.num_seeds, row.num_answers,
        ]  # fmt: skip
        for interval in (row.exact_match, row.f1):
            cells += [interval.estimate, interval.low, interval.high] if interval else [None] * 3
        cells += [report.comparison.confidence, row.num_answers_left_out]
        cells += [row.exact_match_if_left_out_wrong, row.f1_if_left_out_wrong]
        cells += [row.turns, row.llm_calls, row.tokens, row.seconds, row.cost]
        cells += [outcomes[key].get(outcome, 0) for outcome in Outcome]
        if test is None:
            cells += [None] * 8
        else:
            cells += [
                test.reference,
                test.test.num_questions,
                test.difference.estimate,
                test.difference.low,
                test.difference.high,
            ]
            cells += [test.test.p_value, test.adjusted_p_value, test.test.method]
        cells += [published.get((*key, llm)) for llm in llms]
        for name in others:
            interval = getattr(row, name)
            cells += [interval.estimate, interval.low, interval.high] if interval else [None] * 3
        writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue()


def _harmless(text: str) -> str:
    """Text in one line that no spreadsheet takes for a formula."""
    line = " ".join(printable(text).split())
    return f"'{line}" if text.startswith(_FORMULA) or line.startswith(_FORMULA) else line
