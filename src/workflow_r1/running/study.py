"""A study: every arm under every seed in every world, trained once and gathered into one table.

    DIRECTORY/
      study.toml                          the study as it was declared
      runs/WORLD/ARM/seed-N/              the run of training of one arm and seed
      tuning/ARM/VALUE/seed-N/            the runs that choose a setting, in the first world
      study.json, table.md                everything that was found, and the table
      curves.png, .svg, forest.png, .svg  the pictures

Everything that is done stays done: the same study, carried out again in the same directory, continues.
"""

import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_r1.config.study import StudyConfig, load_study
from workflow_r1.errors import ConfigError, MissingExtraError, UserError
from workflow_r1.recording.events import OnEvent, ignore
from workflow_r1.running.planned import PlannedRun, is_trained, num_steps_done, train_all

if TYPE_CHECKING:
    from workflow_r1.config import RunConfig
    from workflow_r1.reports.study.record import RunFigures, StudyReport, TunedValue

SOURCE = "study.toml"

SEED_AGAIN = 1_000_000
"""Added to the seed of the arm that is run again; its world keeps the seed of the others."""


@dataclass(frozen=True)
class StudyPlan:
    """A study, and the directory of its runs."""

    study: StudyConfig
    """The study."""
    file: Path
    """Its TOML file."""
    directory: Path
    """Directory of everything."""
    share: tuple[int, int] = (1, 1)
    """Part of the seeds that this machine trains, and the number of parts."""

    @property
    def first_world(self) -> str:
        """World that tunes."""
        return next(iter(self.study.worlds))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of this machine."""
        part, parts = self.share
        return self.study.all_seeds[part - 1 :: parts]

    def settings(
        self, world: str, arm: str, seed: int, *, value: float | None, overrides: Sequence[str] = ()
    ) -> "RunConfig":
        """Return the configuration of one run.

        Args:
            world: its world.
            arm: its arm.
            seed: its seed.
            value: value of the tuned setting; None leaves the configuration's.
            overrides: overrides beside those of the study, the world and the arm.

        Raises:
            ConfigError: names every wrong key and value.
        """
        from workflow_r1.running.configuration import read_config

        study = self.study
        own_seed = seed + SEED_AGAIN if study.again is not None and arm == study.name_again else seed
        return read_config(
            _source(study, self.file),
            [
                "policy.threads=1",
                *study.overrides,
                *study.worlds[world].overrides,
                *study.arms_and_again[arm].overrides,
                *overrides,
                *(f"{key}={seed}" for key in study.seed_keys),
                *([] if value is None or study.tune is None else [f"{study.tune.key}={_plain(value)}"]),
                f"seed={own_seed}",
            ],
        )

    def tuned_as(self, arm: str) -> str:
        """Return the arm whose tuned value an arm takes: its own, unless the study names another."""
        return self.study.arms_and_again[arm].tuned_as or arm

    def tuning_runs(self) -> dict[tuple[str, float, int], PlannedRun]:
        """Return the runs that choose a setting, by arm, value and seed; none where nothing is tuned."""
        tune = self.study.tune
        if tune is None:
            return {}
        arms = dict.fromkeys(self.tuned_as(arm) for arm in self.study.arms)
        return {
            (arm, value, seed): PlannedRun(
                f"tuning {arm} at {value:g}, seed {seed}",
                self.directory / "tuning" / arm / f"{value:g}" / f"seed-{seed}",
                self.settings(self.first_world, arm, seed, value=value, overrides=tune.overrides),
            )
            for seed in tune.seeds
            for value in tune.values
            for arm in arms
        }

    def runs(self, tuned: Mapping[str, float]) -> dict[tuple[str, str, int], PlannedRun]:
        """Return the runs by world, arm and seed, in their order: every arm once before any seed comes again.

        Args:
            tuned: the tuned value of each arm; empty where nothing is tuned.
        """
        study = self.study
        return {
            (world, arm, seed): PlannedRun(
                f"{world}: {arm}, seed {seed}" if len(study.worlds) > 1 else f"{arm}, seed {seed}",
                self.directory / "runs" / world / arm / f"seed-{seed}",
                self.settings(world, arm, seed, value=tuned.get(arm)),
            )
            for seed in self.seeds
            for world in study.worlds
            for arm in study.arms_and_again
            if seed in study.seeds_of(arm)
        }


def plan_study(file: Path, *, directory: Path | None = None, share: str = "1/1", trust: bool = False) -> StudyPlan:
    """Read a study, and check the settings of every arm in every world before anything is trained.

    Args:
        file: its TOML file.
        directory: directory of everything; None is ``runs/study-NAME``.
        share: part of the seeds that this machine trains, such as ``1/2``.
        trust: the user trusts the run directory that the study starts from.

    Raises:
        ConfigError: names every wrong key and value.
        UntrustedError: the study starts from somebody else's run directory.
    """
    from workflow_r1.running.configuration import open_config
    from workflow_r1.running.policies import require_trainable

    study = load_study(file)
    open_config(_source(study, file), study.overrides, trust=trust)
    plan = StudyPlan(study, file, directory or Path("runs") / f"study-{study.name}", _read_share(share))
    for world in study.worlds:
        for arm in study.arms_and_again:
            value = study.tune.values[0] if study.tune is not None else None
            config = plan.settings(world, arm, study.all_seeds[0], value=value)
            require_trainable(config.policy)
            if config.training.evaluation_questions == 0:
                raise ConfigError(
                    f"arm {arm!r}: expected training.evaluation_questions above 0: a study compares evaluations"
                )
            if study.tune is not None and any(
                _key(each) == study.tune.key for each in study.arms_and_again[arm].overrides
            ):
                raise ConfigError(f"arm {arm!r}: expected no {study.tune.key} of its own, since [tune] chooses it")
    return plan


def _source(study: StudyConfig, file: Path) -> str | Path:
    from workflow_r1.config import preset_names

    return study.config if study.config in preset_names() else file.parent / study.config


def _plain(value: float) -> str:
    """Write a value so that a key of whole numbers takes it, too: 2, not 2.0."""
    return repr(int(value)) if value.is_integer() else repr(value)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _read_share(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"share: expected a part of the seeds such as 1/2, received {text!r}")
    return int(part), int(parts)


# ------------------------------------------------------------------------------------------------------------ the runs


def carry_out(
    plan: StudyPlan,
    *,
    jobs: int = 1,
    on_done: Callable[[PlannedRun], None] = lambda run: None,
    on_event: OnEvent = ignore,
) -> None:
    """Train what is not trained yet: first the runs that tune, then the others, until the stop rule is met.

    Args:
        plan: the study.
        jobs: processes of one thread.
        on_done: called with each run that has ended.
        on_event: receives the events of runs in this process.

    Raises:
        KeyboardInterrupt: the runs under way have saved a checkpoint and ended.
        UserError: see :func:`~workflow_r1.running.planned.train_all`, and another study lies in the directory.
    """
    _keep_source(plan)
    train_all(plan.tuning_runs().values(), jobs=jobs, on_done=on_done, on_event=on_event)
    tuned = choose(plan, read_tuning(plan))
    runs = plan.runs(tuned)
    figures = {key: _read(plan, key, run) for key, run in runs.items() if is_trained(run)}

    def is_enough() -> bool:
        from workflow_r1.reports.study.build import seeds_until_stop

        if plan.share != (1, 1) or plan.study.stop is None:
            return False
        return seeds_until_stop(plan.study, list(figures.values())) < len(plan.study.all_seeds)

    keys = {run.directory: key for key, run in runs.items()}

    def done(run: PlannedRun) -> None:
        figures[keys[run.directory]] = _read(plan, keys[run.directory], run)
        on_done(run)

    train_all(runs.values(), jobs=jobs, on_done=done, is_enough=is_enough, on_event=on_event)


def _keep_source(plan: StudyPlan) -> None:
    """Keep the study beside its runs, and refuse a directory of another one.

    Raises:
        UserError: another study lies there.
    """
    from workflow_r1.trajectory.storage import write_atomically

    kept = plan.directory / SOURCE
    if kept.is_file() and load_study(kept).name != plan.study.name:
        raise UserError(
            f"expected an empty directory or one of the study {plan.study.name!r}, found another in {plan.directory}"
        )
    plan.directory.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, plan.file.read_bytes())


def _read(plan: StudyPlan, key: tuple[str, str, int], run: PlannedRun) -> "RunFigures":
    from workflow_r1.reports.study import RunOfStudy, read_run_figures

    return read_run_figures(RunOfStudy(*key, directory=run.directory), plan.study)


def read_tuning(plan: StudyPlan) -> "list[TunedValue]":
    """Read the mean area of each arm and value that was tried, so far as runs are finished."""
    from workflow_r1.reports.study.record import TunedValue

    areas: dict[tuple[str, float], list[float]] = {}
    for (arm, value, seed), run in plan.tuning_runs().items():
        if is_trained(run):
            areas.setdefault((arm, value), []).append(_read(plan, (plan.first_world, arm, seed), run).area)
    return [
        TunedValue(arm=arm, value=value, area=statistics.fmean(of_value), num_seeds=len(of_value))
        for (arm, value), of_value in areas.items()
    ]


def choose(plan: StudyPlan, tuning: "Sequence[TunedValue]") -> dict[str, float]:
    """Return the value of each arm whose tuning is finished: the one of the largest area, the smallest among equals."""
    tune = plan.study.tune
    if tune is None:
        return {}
    chosen = {}
    for arm in plan.study.arms_and_again:
        tried = [row for row in tuning if row.arm == plan.tuned_as(arm) and row.num_seeds == len(tune.seeds)]
        if len(tried) == len(tune.values):
            chosen[arm] = max(sorted(tried, key=lambda row: row.value), key=lambda row: row.area).value
    return chosen


# ------------------------------------------------------------------------------------------------------------- merging


def merge(plan: StudyPlan, other: Path) -> int:
    """Take over the runs of the same study from another directory, and return their number.

    A run is taken where it is further than the one that is here; a run that is finished here stays.

    Raises:
        UserError: it is no directory of this study, a run has other settings, or a process is at work in one that is to be
            copied or replaced.
    """
    source = other / SOURCE
    if not source.is_file() or load_study(source).name != plan.study.name:
        raise UserError(f"expected a directory of the study {plan.study.name!r} with a {SOURCE}, received {other}")
    _keep_source(plan)
    whole = StudyPlan(plan.study, plan.file, plan.directory)
    num = _take_over(whole.tuning_runs().values(), plan.directory, other)
    # The tuning may have its result only now.
    return num + _take_over(whole.runs(choose(whole, read_tuning(whole))).values(), plan.directory, other)


def _take_over(runs: Iterable[PlannedRun], directory: Path, other: Path) -> int:
    from workflow_r1.recording.run_lock import LOCK, hold_run_directory, require_idle

    num = 0
    for run in runs:
        theirs = PlannedRun(run.title, other / run.directory.relative_to(directory), run.config)
        if not theirs.directory.is_dir() or is_trained(run):
            continue
        if not is_trained(theirs) and num_steps_done(theirs.directory) <= num_steps_done(run.directory):
            continue
        require_idle(theirs.directory)
        with hold_run_directory(run.directory):
            unfinished = run.directory.with_name(f"{run.directory.name}.merging")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(theirs.directory, unfinished, ignore=shutil.ignore_patterns(LOCK))
            shutil.rmtree(run.directory)
            unfinished.rename(run.directory)
        num += 1
    return num


# ------------------------------------------------------------------------------------------------------------ the report


def report_study(plan: StudyPlan) -> "tuple[StudyReport, MissingExtraError | None]":
    """Write ``study.json``, ``table.md`` and the pictures of everything that is finished.

    Returns:
        The record, and the reason for the lack of pictures.

    Raises:
        UserError: no run is finished yet.
    """
    from workflow_r1.reports.study import build_study, write_table
    from workflow_r1.reports.study.pictures import draw_curves, draw_forest
    from workflow_r1.running.simulation import is_simulated
    from workflow_r1.trajectory.storage import write_atomically

    whole = StudyPlan(plan.study, plan.file, plan.directory)
    tuning = read_tuning(whole)
    tuned = choose(whole, tuning)
    runs = whole.runs(tuned)
    figures = [_read(whole, key, run) for key, run in runs.items() if is_trained(run)]
    if not figures:
        raise UserError(f"expected a finished run in {plan.directory}, found none yet")
    # One run of each arm in each world: they differ in their seeds alone.
    settings = {(world, arm): run.config for (world, arm, _), run in runs.items()}
    report = build_study(
        plan.study, figures, tuning=tuning, tuned=tuned, num_planned=len(runs),
        simulation=any(map(is_simulated, settings.values())),
    )  # fmt: skip
    write_atomically(plan.directory / "study.json", report.model_dump_json(indent=1) + "\n")
    write_atomically(plan.directory / "table.md", write_table(report))
    try:
        draw_curves(report, plan.directory)
        draw_forest(report, plan.directory)
    except MissingExtraError as error:
        return report, error
    return report, None
