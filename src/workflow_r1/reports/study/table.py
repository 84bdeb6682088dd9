"""The table of a study, in Markdown."""

import math
from collections.abc import Sequence

from workflow_r1.evaluation.statistics import Interval
from workflow_r1.reports.study.record import Cell, Contrast, Noise, StudyReport

MAX_TURNS = 3
"""Turns whose entropy is shown."""

VERDICTS = {"more": "first", "less": "second", "none": "none"}


def write_table(report: StudyReport) -> str:
    """Write the smallest difference, the contrasts, and the arms."""
    study = report.study
    lines = [f"# {study.name}", ""]
    if study.question:
        lines += [study.question, ""]
    if study.hypotheses:
        lines += ["Expected beforehand:", "", *(f"* {each}" for each in study.hypotheses), ""]
    measure = report.measure or "result"
    lines += [
        f"The figure is {measure} on held-out questions, the mean of the last {study.last_evaluations} evaluations; intervals "
        "are 95%, Student's over seeds, and differences are taken seed by seed.",
        f"{report.num_runs} of {report.num_planned} runs; version {report.version}, commit {', '.join(report.revisions) or 'unknown'}."
        + (" A simulation." if report.simulation else ""),
        "",
    ]
    if report.stopped_after is not None and study.stop is not None:
        lines += [
            f"The stop rule (every half-width at most {study.stop.half_width:g}) ended the study after "
            f"{report.stopped_after} of {len(study.all_seeds)} seeds.",
            "",
        ]
    lines += [*map(_noise, report.noise), ""]
    if report.contrasts:
        several = len(study.worlds) > 1
        lines += _table(
            [
                *(["world"] if several else []),
                "first",
                "second",
                "seeds",
                "difference",
                "p",
                "p (Holm)",
                "area",
                "more",
            ],
            [[*([each.world] if several else []), *_contrast(each)] for each in report.contrasts],
        )
    for world in study.worlds:
        cells = [cell for cell in report.cells if cell.world == world]
        if cells:
            lines += [f"## {world}", ""] if len(study.worlds) > 1 else []
            lines += _cells(cells, report)
    return "\n".join(lines).rstrip() + "\n"


def _noise(noise: Noise) -> str:
    if not noise.smallest:
        return (
            f"{noise.world}: every contrast has fewer than two seeds, so the smallest visible difference is not known."
        )
    each = ", ".join(f"{smallest:.3f} with {num} seeds" for num, smallest in noise.smallest.items())
    found = f"{noise.world}: the smallest difference that can be seen (power 80%, 5% over all contrasts) is {each}"
    if noise.floor is None:
        return f"{found}."
    return f"{found}; one arm under other seeds differs from itself by {_signed(noise.floor)} (the noise floor)."


def _contrast(each: Contrast) -> list[str]:
    return [
        each.first,
        each.second,
        str(each.result.num_seeds),
        _signed(each.result),
        f"{each.p_value:.3g}",
        f"{each.p_holm:.3g}",
        _signed(each.area),
        VERDICTS[each.verdict],
    ]


def _cells(cells: Sequence[Cell], report: StudyReport) -> list[str]:
    study = report.study
    turns = [k for k in range(1, MAX_TURNS + 1) if any(f"turn_{k}/entropy" in cell.update for cell in cells)]
    head = ["arm", "seeds", report.measure, "greedy", "area", "collapsed", "pass^k", "flips"]
    if study.tune is not None:
        head.insert(1, study.tune.key.rpartition(".")[2].replace("_", " "))
    if study.threshold is not None:
        head += [f"reached {study.threshold:g}", "minutes", "trajectories"]
    head += ["ratio", "clipped", "KL to old", "KL to reference", "gradient", *(f"entropy {k}" for k in turns)]
    rows = []
    for cell in cells:
        row = [
            cell.arm,
            str(cell.num_seeds),
            _plain(cell.result),
            "" if cell.greedy is None else _plain(cell.greedy),
            _plain(cell.area),
            f"{cell.num_collapsed} of {cell.num_seeds}",
            _number(cell.pass_all),
            _number(cell.flip_rate),
        ]
        if study.tune is not None:
            row.insert(1, "" if cell.tuned is None else f"{cell.tuned:g}{' (edge)' if cell.at_edge else ''}")
        if study.threshold is not None:
            row += [
                f"{cell.num_reached} of {cell.num_seeds}",
                _number(cell.minutes_to_threshold, ".1f"),
                _number(cell.trajectories_to_threshold, ".0f"),
            ]
        update = cell.update
        ratio = f"{update['ratio_min']:.3g} to {update['ratio_max']:.3g}" if "ratio_min" in update else ""
        clipped = update.get("clip_fraction_low", 0.0) + update.get("clip_fraction_high", 0.0)
        row += [
            ratio,
            f"{clipped:.3f}",
            _number(update.get("approx_kl"), ".2g"),
            _number(update.get("kl"), ".2g"),
            _number(update.get("grad_norm"), ".2g"),
            *(_number(update.get(f"turn_{k}/entropy"), ".2f") for k in turns),
        ]
        rows.append(row)
    # A column that no arm fills says nothing.
    kept = [index for index in range(len(head)) if any(row[index] for row in rows)]
    return _table([head[index] for index in kept], [[row[index] for index in kept] for row in rows])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _half(interval: Interval) -> str:
    half = interval.high - interval.estimate
    return f" ± {half:.3f}" if math.isfinite(half) else ""


def _plain(interval: Interval) -> str:
    return f"{interval.estimate:.3f}{_half(interval)}"


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.3f}{_half(interval)}"


def _number(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)
