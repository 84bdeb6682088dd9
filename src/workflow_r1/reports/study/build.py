"""Everything that a study found, from the figures of its runs."""

import math
import statistics
from collections.abc import Mapping, Sequence

from workflow_r1.config.study import StudyConfig
from workflow_r1.evaluation.statistics import (
    Interval,
    holm,
    pooled_spread,
    seed_interval,
    seed_p_value,
    smallest_difference,
)
from workflow_r1.reports.study.record import Cell, Contrast, Noise, RunFigures, StudyReport, TunedValue, Verdict
from workflow_r1.version import __version__

SIGNIFICANT = 0.05

BySeed = dict[int, RunFigures]


def build_study(
    study: StudyConfig,
    runs: Sequence[RunFigures],
    *,
    tuning: Sequence[TunedValue] = (),
    tuned: Mapping[str, float] | None = None,
    num_planned: int,
    simulation: bool = False,
) -> StudyReport:
    """Compare the arms of a study.

    Seeds after the one at which the stop rule ends the study are left out, so that the table does not depend on the runs
    that were under way then.

    Args:
        study: the study as it was declared.
        runs: figures of the runs that are finished.
        tuning: values that were tried.
        tuned: the chosen value of each arm.
        num_planned: runs that were declared.
        simulation: True where the runs used any part of the embedded world.
    """
    stopped = seeds_until_stop(study, runs)
    kept = set(study.all_seeds[:stopped])
    cells: dict[tuple[str, str], BySeed] = {}
    for run in runs:
        if run.seed in kept:
            cells.setdefault((run.world, run.arm), {})[run.seed] = run
    contrasts = _contrasts(study, cells)
    return StudyReport(
        study=study,
        measure=runs[0].measure if runs else "",
        revisions=tuple(sorted({run.revision or "unknown" for run in runs})),
        version=__version__,
        num_runs=len(runs),
        num_planned=num_planned,
        stopped_after=stopped if stopped < len(study.all_seeds) else None,
        simulation=simulation,
        noise=tuple(_noise(study, world, cells) for world in study.worlds),
        contrasts=contrasts,
        cells=tuple(
            _cell(world, arm, cells[world, arm], tuning, tuned or {})
            for world in study.worlds
            for arm in study.arms_and_again
            if (world, arm) in cells
        ),
        tuning=tuple(tuning),
        runs=tuple(sorted(runs, key=lambda run: (run.world, run.arm, run.seed))),
    )


def seeds_until_stop(study: StudyConfig, runs: Sequence[RunFigures]) -> int:
    """Return the number of seeds after which the stop rule ends the study; all of them where it does not.

    Seeds count in their order, and only once every arm of a contrast has them, so that neither the number of processes
    nor the order in which runs end changes it.
    """
    seeds, rule = study.all_seeds, study.stop
    if rule is None or not study.contrasts:
        return len(seeds)
    results = {(run.world, run.arm, run.seed): run.result for run in runs}
    for num in range(rule.min_seeds, len(seeds)):
        if all(
            _half_width(results, world, pair, study, num) <= rule.half_width
            for world in study.worlds
            for pair in study.contrasts
        ):
            return num
    return len(seeds)


def _half_width(
    results: Mapping[tuple[str, str, int], float], world: str, pair: tuple[str, str], study: StudyConfig, num: int
) -> float:
    first, second = pair
    both = set(study.seeds_of(first)) & set(study.seeds_of(second))
    wanted = [seed for seed in study.all_seeds[:num] if seed in both]
    if not all((world, arm, seed) in results for arm in pair for seed in wanted):
        return math.inf
    if len(wanted) == len(both):
        return 0.0  # No seed of it is to come: further seeds cannot narrow it.
    if len(wanted) < 2:
        return math.inf
    interval = seed_interval(values=[results[world, first, seed] - results[world, second, seed] for seed in wanted])
    return interval.high - interval.estimate


def _differences(
    cells: Mapping[tuple[str, str], BySeed], world: str, first: str, second: str, figure: str
) -> list[float]:
    one, other = cells.get((world, first), {}), cells.get((world, second), {})
    return [getattr(one[seed], figure) - getattr(other[seed], figure) for seed in sorted(one.keys() & other.keys())]


def _contrasts(study: StudyConfig, cells: Mapping[tuple[str, str], BySeed]) -> tuple[Contrast, ...]:
    found = []
    for world in study.worlds:
        for first, second in study.contrasts:
            differences = _differences(cells, world, first, second, "result")
            if differences:
                areas = _differences(cells, world, first, second, "area")
                found.append((world, first, second, differences, areas))
    p_values = [seed_p_value(differences=differences) for *_, differences, _ in found]
    # A declared contrast without a run yet counts with a p-value of 1: otherwise a table of half a study corrected for less.
    missing = len(study.contrasts) * len(study.worlds) - len(found)
    corrected = holm(p_values=[*p_values, *[1.0] * missing])[: len(found)]
    floors = {world: _floor(study, world, cells) for world in study.worlds}
    contrasts = []
    for (world, first, second, differences, areas), p, p_holm in zip(found, p_values, corrected, strict=True):
        interval = seed_interval(values=differences)
        contrasts.append(
            Contrast(
                world=world, first=first, second=second, result=interval, area=seed_interval(values=areas),
                p_value=p, p_holm=float(p_holm), verdict=_verdict(interval.estimate, float(p_holm), floors[world]),
            )
        )  # fmt: skip
    return tuple(contrasts)


def _verdict(difference: float, p_holm: float, floor: Interval | None) -> Verdict:
    noise = 0.0 if floor is None else max(abs(floor.estimate), floor.high - floor.estimate)
    if p_holm > SIGNIFICANT or abs(difference) <= noise:
        return "none"
    return "more" if difference > 0 else "less"


def _floor(study: StudyConfig, world: str, cells: Mapping[tuple[str, str], BySeed]) -> Interval | None:
    if study.again is None:
        return None
    differences = _differences(cells, world, study.again, study.name_again, "result")
    return seed_interval(values=differences) if len(differences) > 1 else None


def _noise(study: StudyConfig, world: str, cells: Mapping[tuple[str, str], BySeed]) -> Noise:
    samples = [_differences(cells, world, *pair, "result") for pair in study.contrasts]
    again = [] if study.again is None else _differences(cells, world, study.again, study.name_again, "result")
    spread = pooled_spread(differences=[sample for sample in [*samples, again] if sample])
    num_tests = len(study.contrasts) * len(study.worlds)
    return Noise(
        world=world,
        floor=_floor(study, world, cells),
        smallest={
            num: smallest_difference(spread=spread, num_seeds=num, num_tests=num_tests)
            for num in sorted({len(sample) for sample in samples if len(sample) > 1}, reverse=True)
        },
    )


def _cell(world: str, arm: str, runs: BySeed, tuning: Sequence[TunedValue], tuned: Mapping[str, float]) -> Cell:
    each = list(runs.values())
    value = tuned.get(arm)
    tried = [row.value for row in tuning]
    minutes = [run.minutes_to_threshold for run in each if run.minutes_to_threshold is not None]
    trajectories = [run.trajectories_to_threshold for run in each if run.trajectories_to_threshold is not None]
    greedy = [run.greedy for run in each if run.greedy is not None]
    keys = set.intersection(*(set(run.update) for run in each))
    return Cell(
        world=world,
        arm=arm,
        tuned=value,
        at_edge=value is not None and value in (min(tried), max(tried)),
        num_seeds=len(each),
        result=seed_interval(values=[run.result for run in each]),
        greedy=seed_interval(values=greedy) if len(greedy) == len(each) else None,
        area=seed_interval(values=[run.area for run in each]),
        num_collapsed=sum(run.collapsed for run in each),
        num_reached=len(minutes),
        minutes_to_threshold=statistics.median(minutes) if minutes else None,
        trajectories_to_threshold=statistics.median(trajectories) if trajectories else None,
        pass_all=_mean([run.pass_all for run in each]),
        flip_rate=_mean([run.flip_rate for run in each]),
        update={key: statistics.fmean(run.update[key] for run in each) for key in sorted(keys)},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
