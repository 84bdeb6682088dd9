"""An evaluation as logs of Inspect AI, a file for each method and benchmark, which ``inspect view`` opens.

Seeds and repeats are Inspect's epochs. The evaluation card stands in the metadata of every log. Figures are those of
our own report; an infrastructure failure is a sample with an error and enters no figure.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalPlan,
    EvalPlanStep,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    HeadlineMetric,
    write_eval_log,
)
from inspect_ai.model import ModelUsage

from workflow_r1.assembly.chat_models import SIMULATED_EXPERT
from workflow_r1.errors import DataError
from workflow_r1.evaluation.answers import read_answers
from workflow_r1.evaluation.card import EvaluationCard
from workflow_r1.evaluation.comparison import MethodFigures, compare_methods
from workflow_r1.evaluation.harness import ROWS, EvaluationLog, as_file_name
from workflow_r1.evaluation.rows import EvaluationRow, iterate_rows
from workflow_r1.evaluation.statistics import Interval
from workflow_r1.reports.inspect_samples import make_sample


def export_inspect_logs(
    directory: Path,
    output: Path,
    *,
    on_start: Callable[[Path, int], None] = lambda path, num_answers: None,
    on_log: Callable[[Path, EvalLog], None] = lambda path, log: None,
) -> list[Path]:
    """Write an evaluation as logs of Inspect AI: ``METHOD_BENCHMARK.eval``. Each appears whole, in place of an earlier one.

    Args:
        directory: directory of the evaluation.
        output: directory of the logs; made where it is missing.
        on_start: called before each log, with the number of its answers.
        on_log: called with each log that was written.

    Returns:
        The logs' files, in alphabetical order of method and benchmark.

    Raises:
        DataError: there is no evaluation, it has no answers yet, or its files are damaged.
        OSError: a log cannot be written.
    """
    card = EvaluationCard.read(directory)
    evaluation = EvaluationLog(directory)
    rows: defaultdict[tuple[str, str], dict[tuple[str, int, int], EvaluationRow]] = defaultdict(dict)
    if (directory / ROWS).is_file():
        for row in iterate_rows(directory / ROWS):
            rows[row.method, row.benchmark][row.question_id, row.seed, row.repeat] = row
    if not rows:
        raise DataError(f"expected answers in {directory / ROWS}, found none: evaluate a method first")
    figures = {
        (each.method, each.benchmark): each for each in compare_methods(read_answers([directory / ROWS])).figures
    }
    ended = datetime.fromtimestamp((directory / ROWS).stat().st_mtime, UTC)
    began = _began(card, ended)
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for method, benchmark in sorted(rows):
        answers = rows.pop((method, benchmark)).values()
        path = output / f"{as_file_name(method)}_{as_file_name(benchmark)}.eval"
        on_start(path, len(answers))
        samples = _samples(answers, evaluation, llm=_name_of_llm(card), run=stable_id(card.title, as_time(began)))
        log = _make_log(card, samples, figures[method, benchmark], began=began, ended=ended)
        write_log(path, log)
        written.append(path)
        on_log(path, log)
    return written


def _samples(answers: Iterable[EvaluationRow], evaluation: EvaluationLog, *, llm: str, run: str) -> list[EvalSample]:
    """One for each answer, by question, seed and repeat: answers came in the order in which services replied."""
    ordered = sorted(answers, key=lambda row: (natural_order(row.question_id), row.seed, row.repeat))
    first = ordered[0]
    draws = sorted({(row.seed, row.repeat) for row in ordered})
    epochs = {draw: epoch for epoch, draw in enumerate(draws, start=1)}
    trajectories = {each.id: each for each in evaluation.trajectories(first.method, first.benchmark)}
    samples = []
    for row in ordered:
        id = f"{row.method}-{row.benchmark}-{row.question_id}-s{row.seed}-r{row.repeat}"
        if id not in trajectories:
            path = evaluation.trajectories_path(row.method, row.benchmark)
            raise DataError(f"{path}: expected the trajectory {id}, whose answer is in {ROWS}, found none")
        epoch = epochs[row.seed, row.repeat]
        samples.append(make_sample(row, trajectories[id], epoch=epoch, llm=llm, uuid=stable_id(run, id)))
    return samples


def _make_log(
    card: EvaluationCard, samples: list[EvalSample], figures: MethodFigures, *, began: datetime, ended: datetime
) -> EvalLog:
    method, benchmark = figures.method, figures.benchmark
    created = as_time(began)
    described = card.methods.get(method, {})
    questions = card.benchmarks.get(benchmark, {})
    failed = sum(sample.error is not None for sample in samples)
    of_task = [name for name in ("success", "reward") if getattr(figures, name) is not None]
    shown = of_task or ["exact_match", "f1"]
    headline, metric = shown[0], "mean" if shown[0] == "reward" else "accuracy"
    num_epochs = max(sample.epoch for sample in samples)
    model = described.get("model") or _name_of_llm(card)
    return EvalLog(
        status="success",
        eval=EvalSpec(
            eval_id=stable_id(card.title, created, method, benchmark),
            run_id=stable_id(card.title, created),
            task_id=stable_id(method, benchmark),
            created=created,
            task=f"{method} on {benchmark}",
            solver=method,
            solver_args=dict(described),
            tags=["simulation"] if card.is_simulation else None,
            dataset=EvalDataset(
                name=benchmark,
                location=None if questions.get("file") is None else str(questions["file"]),
                samples=len({sample.id for sample in samples}),
                sample_ids=list(dict.fromkeys(str(sample.id) for sample in samples)),
            ),
            model=str(model),
            config=EvalConfig(epochs=num_epochs, epochs_reducer=["mean"], fail_on_error=False),
            packages=_packages(card),
            metadata={"evaluation card": card.model_dump(mode="json")},
            headline_metric=HeadlineMetric(score=headline, metric=metric),
        ),
        plan=EvalPlan(name=method, steps=[EvalPlanStep(solver=method, params=dict(described))]),
        results=EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples) - failed,
            scores=[
                _score(name, "mean" if name in ("f1", "reward") else "accuracy", getattr(figures, name), figures)
                for name in shown
            ],
            headline=HeadlineMetric(scorer=headline, score=headline, metric=metric),
            metadata=figures.model_dump(mode="json"),
        ),
        stats=EvalStats(
            started_at=created,
            completed_at=as_time(max(began, ended)),
            model_usage=sum_usage(sample.model_usage for sample in samples),
            role_usage=sum_usage(sample.role_usage for sample in samples),
        ),
        samples=samples,
    )


def _score(name: str, metric: str, interval: Interval | None, figures: MethodFigures) -> EvalScore:
    values = {} if interval is None else {metric: interval.estimate, "low": interval.low, "high": interval.high}
    return EvalScore(
        name=name,
        scorer=name,
        reducer="mean" if figures.num_answers > figures.num_questions else None,
        # Inspect counts questions here: seeds and repeats are averaged first.
        scored_samples=figures.num_questions,
        unscored_samples=figures.num_left_out,
        metrics={key: EvalMetric(name=key, value=value) for key, value in values.items()},
        metadata=None if interval is None else {"interval": interval.model_dump(mode="json")},
    )


def write_log(path: Path, log: EvalLog) -> None:
    """Write a log. It appears whole, in place of an earlier one."""
    partial = path.with_name(f".{path.stem}.partial.eval")
    try:
        write_eval_log(log, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sum_usage(usages: Iterable[Mapping[str, ModelUsage]]) -> dict[str, ModelUsage]:
    """Sum up usages by model or role."""
    total: dict[str, ModelUsage] = {}
    for usage in usages:
        for name, each in usage.items():
            total[name] = total[name] + each if name in total else each
    return total


def _name_of_llm(card: EvaluationCard) -> str:
    if card.llm.get("kind") == "embedded":
        return SIMULATED_EXPERT
    return str(card.llm.get("model") or card.llm.get("kind") or "LLM")


def _packages(card: EvaluationCard) -> dict[str, str]:
    packages: Any = card.runs[-1].get("packages") if card.runs else None
    return {name: str(version) for name, version in packages.items() if version} if isinstance(packages, dict) else {}


def _began(card: EvaluationCard, ended: datetime) -> datetime:
    """Return the time at which the evaluation began: as its first run says, else that of its last answer."""
    try:
        return datetime.fromisoformat(str(card.runs[0].get("started")))
    except (ValueError, IndexError):
        return ended


def as_time(moment: datetime) -> str:
    """Write a time as the logs have it: UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def natural_order(id: str) -> str:
    """Sort ``test_9`` before ``test_10``."""
    return re.sub(r"\d+", lambda number: number[0].zfill(20), id)


def stable_id(*names: str) -> str:
    """Make an id that is the same at every export."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:22]
