"""The report of the toy: null arms, contrasts by setting, cells, and a picture."""

import csv
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arms import ARMS, CONTRASTS, RANGES
from training import Setting, setting_of
from tuning import best_area, tuned, tuned_as, tuning_areas

from workflow_r1.evaluation.statistics import holm, seed_interval, seed_p_value
from workflow_r1.reports.drawing import INK, MUTED, dress, opened_figure, save_figure
from workflow_r1.reports.study.pictures import COLOURS

SHOWN = (
    "token", "token unclipped", "turn/length", "turn/length narrow", "turn/length band", "sequence", "sequence band",
)  # fmt: skip
"""Arms whose areas the picture shows: the published ranges, and one of each unit that does well."""

DRAWN = (
    ("turn/length", "token"),
    ("turn/length band", "token"),
    ("turn/length unclipped", "token unclipped"),
    ("turn/length matched", "token matched"),
    ("turn/length band", "sequence band"),
    ("turn/length matched", "sequence matched"),
)
"""Contrasts of the picture: unit against unit."""

Row = dict[str, Any]
"""A run, as it stands in ``runs.jsonl``."""

Cell = Mapping[int, Row]
"""Runs of one arm, setting and rate, by seed."""

MEANS = ("area", "end", "collapsed", "clipped", "removed", "decisions_removed", "kl", "largest_move")
"""Figures that the table of the cells averages over seeds."""


def write_table(rows: Sequence[Row], settings: Sequence[Setting]) -> str:
    """Write the null arms first, then every contrast by setting, then units at their best ranges, then the cells."""
    rates = tuned(rows)
    fresh = _cells_by_rate(rows)
    commits = sorted({row["commit"] or "unknown" for row in rows})
    several = [setting for setting in settings if setting != setting.null]
    lines = [
        f"Commit {', '.join(commits)}; {len(rows)} runs, {sum(row['seconds'] for row in rows) / 60:.0f} CPU minutes, "
        f"{statistics.median(row['seconds'] for row in rows):.1f} s a run. Area: mean exact success over the run; end: of "
        "its last evaluations. Differences are paired by seed, with 95% intervals; * marks p < .05 after Holm's correction "
        "over the table of areas.",
        "",
        # Both arms at one rate, so that nothing but the weight can differ.
        *_contrasts(
            "Null arms: one optimiser step on a fresh batch, at the rate that the first arm uses in that setting",
            several,
            lambda arm, first, setting: fresh.get((arm, setting.null, rates.get((first, setting), math.nan)), {}),
        ),
        *_contrasts(
            "Contrasts: each arm at its own rate",
            settings,
            lambda arm, _, setting: fresh.get((arm, setting, rates.get((arm, setting), math.nan)), {}),
        ),
        *_best_ranges(fresh_cells(rows, rates), tuning_areas(rows), several),
        *_cells(fresh, rates, tuning_areas(rows), settings),
    ]
    return "\n".join(lines)


def _contrasts(title: str, settings: Sequence[Setting], cell: Callable[[str, str, Setting], Cell]) -> list[str]:
    """Write the differences of area and of end, a row a contrast and a column a setting.

    Args:
        title: head of the tables.
        settings: the columns.
        cell: returns the runs of an arm, beside a first arm, in a setting.
    """
    found = {}
    for one, other in CONTRASTS:
        for setting in settings:
            cells = cell(one, one, setting), cell(other, one, setting)
            if len(seeds := sorted(set(cells[0]) & set(cells[1]))) > 1:
                found[one, other, setting] = {
                    key: paired([cells[0][seed][key] - cells[1][seed][key] for seed in seeds])
                    for key in ("area", "end")
                }
    if not found:
        return []
    corrected = dict(zip(found, holm(p_values=[each["area"][2] for each in found.values()]), strict=True))
    lines = [f"**{title}**", ""]
    for key in ("area", "end"):
        lines += [
            f"| first minus second: {key} | {' | '.join(map(str, settings))} |",
            f"|---|{'---|' * len(settings)}",
        ]
        # Each contrast that has a figure, once and in its order.
        for one, other in dict.fromkeys((first, second) for first, second, _ in found):
            statements = []
            for setting in settings:
                each = found.get((one, other, setting))
                star = "*" if key == "area" and each and corrected[one, other, setting] < 0.05 else ""
                statements.append(f"{each[key][0]:+.3f} ± {each[key][1]:.3f}{star}" if each else "")
            lines.append(f"| {one} minus {other} | {' | '.join(statements)} |")
        lines.append("")
    return lines


def _best_ranges(
    fresh: Mapping[tuple[str, Setting], Cell],
    tuning: Mapping[tuple[str, Setting], Mapping[float, Mapping[int, float]]],
    settings: Sequence[Setting],
) -> list[str]:
    """Write the contrasts of units, each with the range and the rate that its tuning seeds like best.

    A setting is left out where units tried different numbers of ranges: the one with more would be ahead for that alone.
    """
    found = []
    for setting in settings:
        tried = {unit: [arm for arm in arms if (arm, setting) in tuning] for unit, arms in RANGES.items()}
        if len(nums := {len(arms) for arms in tried.values()}) > 1 or 0 in nums:
            continue
        best = {unit: max(arms, key=lambda arm: best_area(tuning[arm, setting])) for unit, arms in tried.items()}
        for one, other in (("turn", "token"), ("sequence", "token"), ("turn", "sequence")):
            cells = [fresh.get((best[unit], setting), {}) for unit in (one, other)]
            if len(seeds := sorted(set(cells[0]) & set(cells[1]))) > 1:
                both = [
                    paired([cells[0][seed][key] - cells[1][seed][key] for seed in seeds]) for key in ("area", "end")
                ]
                found.append((setting, len(tried[one]), best[one], best[other], len(seeds), *both))
    if not found:
        return []
    corrected = holm(p_values=[area[2] for *_, area, _ in found])
    return [
        "**Units, each at the best of its ranges**",
        "",
        "| setting | of ranges | first | minus second | seeds | area | p (Holm) | end |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {setting} | {ranges} | {one} | {other} | {num} | {area[0]:+.3f} ± {area[1]:.3f} | {p:.2g} | {end[0]:+.3f} ± {end[1]:.3f} |"
            for (setting, ranges, one, other, num, area, end), p in zip(found, corrected, strict=True)
        ),
        "",
    ]


def _cells(
    fresh: Mapping[tuple[str, Setting, float], Cell],
    rates: Mapping[tuple[str, Setting], float],
    tuning: Mapping[tuple[str, Setting], Mapping[float, Mapping[int, float]]],
    settings: Sequence[Setting],
) -> list[str]:
    lines = [
        "**Cells**",
        "",
        "| arm | setting | rate | area | end | collapsed | units clipped | mass removed | of decisions | KL to the sampler | largest token move | on-policy at this rate |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (arm, setting), rate in sorted(rates.items(), key=lambda each: (each[0][1], list(ARMS).index(each[0][0]))):
        cell = list(fresh.get((arm, setting, rate), {}).values())
        # Arms of one weight are one arm where ratios are 1, as the null table shows.
        same = tuned_as(arm, setting.null)
        if not cell or setting not in settings or (setting == setting.null and arm != same):
            continue
        on_policy = [row["area"] for row in fresh.get((same, setting.null, rate), {}).values()]
        edge = " (edge)" if rate in (min(tried := tuning[tuned_as(arm, setting), setting]), max(tried)) else ""
        # Runs of an earlier version do not say what their clip removed.
        mean = {key: statistics.mean([row[key] for row in cell if key in row] or [math.nan]) for key in MEANS}
        figures = [
            *(f"{mean[key]:.3f}" for key in ("area", "end")),
            f"{mean['collapsed']:.2f}",
            *(f"{mean[key]:.3f}" for key in ("clipped", "removed", "decisions_removed")),
            f"{mean['kl']:.2g}",
            f"{mean['largest_move']:.1f}",
            f"{statistics.mean(on_policy or [math.nan]):.3f}",
        ]
        shown = " | ".join("" if figure == "nan" else figure for figure in figures)
        lines.append(f"| {arm} | {setting} | {rate:g}{edge} | {shown} |")
    return lines


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the runs without their curves."""
    columns = ("arm", *Setting._fields, "rate", "seed", "stage", *MEANS, "norm", "commit")
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            row = row | setting_of(row)._asdict()
            values = (row.get(column, "") for column in columns)
            writer.writerow(f"{value:.5g}" if isinstance(value, float) else value for value in values)


def draw_settings(rows: Sequence[Row], settings: Sequence[Setting], directory: Path) -> None:
    """Draw ``doses.png`` and ``doses.svg``: unit against unit by setting, for each kind of range, and the area of each arm.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    fresh = fresh_cells(rows, tuned(rows))
    if not fresh:
        return
    with opened_figure(11.0, 4.4) as figure:
        contrasts, areas = figure.subplots(1, 2)
        columns = "optimiser steps on a batch"
        columns += ", batches late" * (len({each.staleness for each in settings}) > 1)
        columns += ", world" * (len({each.world for each in settings}) > 1)
        # Worlds have no order that a line could show.
        line = "none" if "world" in columns else "solid"
        dress(contrasts, "Unit against unit, each at its own rate", columns, "difference in area, 95%")
        contrasts.axhline(0.0, color=MUTED, linewidth=0.8)
        for place, ((one, other), colour) in enumerate(zip(DRAWN, COLOURS, strict=False)):
            points = []
            for column, setting in enumerate(settings):
                cells = [fresh.get((arm, setting), {}) for arm in (one, other)]
                seeds = sorted(set(cells[0]) & set(cells[1]))
                if len(seeds) > 1:
                    mean, half, _ = paired([cells[0][seed]["area"] - cells[1][seed]["area"] for seed in seeds])
                    points.append((column + 0.06 * (place - len(DRAWN) / 2), mean, half))
            if points:
                at, means, halves = zip(*points, strict=True)
                contrasts.errorbar(
                    at, means, yerr=halves, color=colour, marker="o", markersize=4, capsize=3, linewidth=1.2, linestyle=line,
                    label=f"{one} minus {other}",
                )  # fmt: skip
        dress(areas, "Units and ranges", columns, "area: mean success over the run")
        for arm, colour in zip(SHOWN, COLOURS, strict=False):
            at = [column for column, setting in enumerate(settings) if fresh.get((arm, setting))]
            heights = [statistics.mean(row["area"] for row in fresh[arm, settings[column]].values()) for column in at]
            if at:
                areas.plot(
                    at, heights, color=colour, marker="o", markersize=4, linewidth=1.4, linestyle=line, label=arm
                )
        for axes in (contrasts, areas):
            axes.set_xticks(
                range(len(settings)), [str(each).replace(", ", "\n") for each in settings], fontsize="small"
            )
        contrasts.legend(frameon=False, fontsize="small", loc="upper left", labelcolor=INK)
        areas.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), labelcolor=INK)
        save_figure(figure, directory / "doses")


def fresh_cells(rows: Sequence[Row], rates: Mapping[tuple[str, Setting], float]) -> dict[tuple[str, Setting], Cell]:
    """Return the fresh runs of each arm and setting at its own rate, by seed."""
    cells = _cells_by_rate(rows)
    return {key: cells[*key, rate] for key, rate in rates.items() if (*key, rate) in cells}


def _cells_by_rate(rows: Sequence[Row]) -> dict[tuple[str, Setting, float], dict[int, Row]]:
    cells: dict[tuple[str, Setting, float], dict[int, Row]] = {}
    for row in rows:
        if row["stage"] == "fresh":
            cells.setdefault((row["arm"], setting_of(row), row["rate"]), {})[row["seed"]] = row
    return cells


def paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of differences seed by seed, half of Student's 95% interval, and the two-sided p-value."""
    interval = seed_interval(values=differences)
    return interval.estimate, interval.high - interval.estimate, seed_p_value(differences=differences)
