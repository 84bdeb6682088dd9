"""Small run directories for the viewer, made by the package's own writers; hostile ones too."""

from collections.abc import Callable, Iterator
from pathlib import Path

from workflow_r1.evaluation.harness import EvaluationLog
from workflow_r1.evaluation.rows import EvaluationRow, EvaluationStatus
from workflow_r1.recording.alarms import Alarm, to_row
from workflow_r1.recording.run_files import ALARMS, EVALUATIONS, METRICS, RunFiles
from workflow_r1.rewards import score_trajectory
from workflow_r1.trajectory import (
    Message,
    OperatorCall,
    Question,
    StopReason,
    Trajectory,
    Turn,
    Usage,
)

CONFIG = """name = "notebook"
seed = {seed}

[data]
source = "embedded"

[objective]
advantage = "group_normalised"

[training]
steps = 4
group_size = 4
"""

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "' onmouseover='window.hacked = 1' x='",
    "</script><script>window.hacked = 1</script><!--",
    "javascript:window.hacked=1",
    '<svg onload=window.hacked=1><a href="javascript:window.hacked=1">x</a>',
    "{{constructor.constructor('window.hacked=1')()}} ${window.hacked=1}",
    "\u202egnirts desrever a\u202c \u2066isolated\u2069 \u200bunseen \x1b]8;;x\x07",
    "__proto__",
    "\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
)
"""Texts that a page must show, and never act on."""


def make_trajectory(
    *,
    step: int | None = 1,
    number: int = 0,
    question: int = 0,
    answer: str | None = "Cincinnati",
    stop: StopReason = StopReason.ANSWERED,
    text: Callable[[str], str] = str,
    observation: str = "Steven Spielberg was born in Cincinnati, Ohio.",
) -> Trajectory:
    """A trajectory of two turns about Jaws; scored unless the infrastructure failed.

    Args:
        text: changes every text in it.
    """
    asked = Question(
        id=text(f"q{question}"),
        text=text(f"Where was the director of film {question} born?"),
        golden_answers=(text("Cincinnati"),),
        dataset=text("films"),
        split=text("train"),
        metadata={"kind": text("two-hop"), text("source"): text("a file")},
    )
    call = OperatorCall(
        operator=text("Search"), input=text("director of the film"), observation=text(observation), valid=True,
        usage=Usage(searches=1, cost=0.002, paid=0.002), seconds=0.25,
    )  # fmt: skip
    wrong = OperatorCall(operator=text("Serch"), input=text("x"), observation=text("no such operator"), valid=False)
    called = f"<tool>{text('Search')}: {text('director of the film')}</tool>"
    if number == 1:
        called += f"<tool>{text('Serch')}: {text('x')}</tool>"
    first = Turn(
        index=1, text=f"<think>{text('Who directed it?')}</think>{called}", token_ids=(1, 2, 3), logprobs=(-0.5, -0.1, -2.0),
        well_formed=number != 1, calls=(call, wrong) if number == 1 else (call,), observation=f"<info>{text(observation)}</info>",
        context_token_ids=(7,),
    )  # fmt: skip
    said = f"<think>{text('Settled.')}</think>" + ("" if answer is None else f"<answer>{answer}</answer>")
    last = Turn(index=2, text=said, token_ids=(4, 5), logprobs=(-0.2, -0.3), well_formed=answer is not None)
    made = Trajectory(
        id=text(f"q{question}-{step}-{number}"),
        group_id=text(f"q{question}-{step}"),
        question=asked,
        policy=text("small"),
        step=step,
        seed=2**60 + 1,
        prompt=(Message(role="user", content=text("Answer the question.")),),
        turns=(first, last),
        answer=answer,
        stop_reason=stop,
        error=text("the server is gone") if stop.is_infrastructure else None,
        seconds=1.5,
    )
    return made if stop.is_infrastructure else score_trajectory(made)


def trajectories_of(step: int, *, questions: int = 2, text: Callable[[str], str] = str) -> Iterator[Trajectory]:
    """Groups of four for each question: more of them right in each step, one without an answer, one failure in step 1."""
    for question in range(questions):
        for number in range(4):
            is_right = number < step
            stop = StopReason.ANSWERED
            answer: str | None = "Cincinnati" if is_right else "Los Angeles"
            if number == 3:
                answer, stop = None, StopReason.MAX_TURNS
            if number == 2 and step == 1:
                answer, stop = None, StopReason.OPERATOR_FAILED
            yield make_trajectory(
                step=step, number=number, question=question, answer=None if answer is None else text(answer), stop=stop,
                text=text,
            )  # fmt: skip


def write_step(files: RunFiles, step: int, *, questions: int = 2, text: Callable[[str], str] = str) -> None:
    """Append what a step leaves."""
    files.append_trajectories(list(trajectories_of(step, questions=questions, text=text)), step=step)
    rate = step / 4
    evaluation = {
        "evaluation/exact_match": rate,
        "evaluation/exact_match_low": max(0.0, rate - 0.2),
        "evaluation/exact_match_high": min(1.0, rate + 0.2),
        "evaluation/turns": 2.0,
        "evaluation/num_failed": 0,
    }
    files.append(
        METRICS,
        {
            "step": step, "rollout/reward": rate - 0.2, "rollout/exact_match": rate, "rollout/turns": 2.0,
            "rollout/calls/Search": 1.0, "update/ratio_mean": 1.0, "update/turn_1/ratio_mean": 0.9987,
            "update/turn_1/clip_fraction": 0.0, "time/step_seconds": 3.0, **evaluation,
        },
    )  # fmt: skip
    files.append(EVALUATIONS, {"step": step, **evaluation})
    if step == 2:
        alarm = Alarm(
            "no_signal", step, text("the rewards of every group are equal"), text("train on harder questions")
        )
        files.append(ALARMS, to_row(alarm))


def make_run(
    directory: Path, *, steps: int = 3, questions: int = 2, seed: int = 0, text: Callable[[str], str] = str
) -> RunFiles:
    """Make the directory of a run that has done some steps."""
    files = RunFiles(directory, resume=False)
    (directory / "config.toml").write_text(CONFIG.format(seed=seed), encoding="utf-8")
    (directory / "environment.json").write_text(
        '{"started": "2026-11-28T09:00:00+00:00", "simulation": true}', encoding="utf-8"
    )
    for step in range(1, steps + 1):
        write_step(files, step, questions=questions, text=text)
    return files


def make_evaluation(directory: Path, *, right: dict[str, int], questions: int = 4) -> None:
    """Make the directory of an evaluation: methods with the number of questions that each has right."""
    log = EvaluationLog(directory)
    directory.mkdir(parents=True)
    for method, num_right in right.items():
        for question in range(questions):
            is_right = question < num_right
            made = make_trajectory(step=None, question=question, answer="Cincinnati" if is_right else "Los Angeles")
            log.keep(
                EvaluationRow(
                    method=method, benchmark="films", question_id=f"q{question}", status=EvaluationStatus.ANSWERED,
                    exact_match=float(is_right), f1=float(is_right),
                ),
                made.model_copy(update={"id": f"{method}-films-q{question}-s0-r0"}),
            )  # fmt: skip
