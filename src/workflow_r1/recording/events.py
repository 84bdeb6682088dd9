"""Events of a run: frozen records that the engine passes to ``on_event``, never printed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workflow_r1.recording.alarms import Alarm, AlarmEnded
from workflow_r1.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Preparing:
    """Something takes a while before the run has a directory, or after its work is done."""

    what: str
    """Work that is done, in a few words."""


@dataclass(frozen=True, slots=True)
class RunOpened:
    """The run is prepared and has its directory; the model is loaded next."""

    directory: Path
    """The run directory."""
    title: str
    """Title of the run."""


@dataclass(frozen=True, slots=True)
class AnsweringStarted:
    """A method begins to answer the questions of an evaluation."""

    title: str
    """Title of the evaluation."""
    total: int
    """Answers in all."""
    done: int
    """Number of answers that were there already."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A line that says how far something is."""

    line: str
    """The line."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Ctrl-C, or another watcher, has asked the run to stop cleanly."""

    what_follows: str
    """Work that still follows until it stops."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The model is loaded and training begins or continues."""

    step: int
    """Steps already done; above 0 after a resume."""
    num_steps: int
    """Steps in all."""
    num_parameters: int
    """Parameters of the policy."""
    num_trainable_parameters: int
    """Number of parameters that are trained."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins to draw its questions."""

    step: int
    """1, 2, ..."""
    num_steps: int
    """Steps in all."""


@dataclass(frozen=True, slots=True)
class TrajectoryFinished:
    """One trajectory of the step's rollouts, or of an evaluation, has ended."""

    done: int
    """Trajectories that have ended so far."""
    total: int
    """Trajectories under way in all."""
    trajectory: Trajectory
    """The trajectory that ended."""


@dataclass(frozen=True, slots=True)
class UpdateStarted:
    """The rollouts of the step are scored; the optimiser begins."""

    step: int
    """The step under way."""
    num_mini_batches: int
    """Optimiser steps to come."""


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step's line has been written to ``metrics.jsonl``."""

    step: int
    """The step that ended."""
    num_steps: int
    """Steps in all."""
    metrics: Mapping[str, float | int | None]
    """The line."""


@dataclass(frozen=True, slots=True)
class EvaluationStarted:
    """A greedy evaluation begins."""

    step: int
    """Steps done so far."""
    num_questions: int
    """Held-out questions to be asked."""


@dataclass(frozen=True, slots=True)
class EvaluationFinished:
    """A greedy evaluation has been written to ``evaluations.jsonl``."""

    step: int
    """Steps done so far."""
    metrics: Mapping[str, float | int | None]
    """Its figures, keys ``evaluation/...``."""


@dataclass(frozen=True, slots=True)
class ServicesBooked:
    """The usage of services has been written to ``services.jsonl``."""

    step: int
    """The step under way; 0 before the first."""
    stage: Literal["training", "evaluation"]
    """Stage that called the services."""
    row: Mapping[str, float | int | str | None]
    """The line."""
    spent: str
    """Amounts spent in all, resumes included, in words."""


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is complete on the disk."""

    step: int
    """Steps that it holds."""
    path: Path
    """Its directory."""


@dataclass(frozen=True, slots=True)
class PolicySaved:
    """A policy is complete on the disk in Hugging Face format."""

    path: Path
    """Its directory."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the run survives and a person should know."""

    message: str
    """The event and its remedy, in words."""


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """The figures of a step say that training goes wrong; written to ``alarms.jsonl``."""

    alarm: Alarm
    """The alarm."""


@dataclass(frozen=True, slots=True)
class AlarmOver:
    """The figures of a step end an alarm."""

    end: AlarmEnded
    """Its kind and the step."""


@dataclass(frozen=True, slots=True)
class WarmstartProgress:
    """An optimiser step of the warm start is done."""

    step: int
    """1, 2, ..."""
    num_steps: int
    """Steps in all."""
    metrics: Mapping[str, float | int | None]
    """The line written to ``metrics.jsonl``."""


@dataclass(frozen=True, slots=True)
class HeldOutScored:
    """The warm start has been scored on the demonstrations that it never trains on."""

    step: int
    """Optimiser steps done."""
    metrics: Mapping[str, float | int | None]
    """Keys ``held_out/...``."""


Event = (
    Preparing
    | RunOpened
    | AnsweringStarted
    | Noted
    | StopRequested
    | RunStarted
    | StepStarted
    | TrajectoryFinished
    | UpdateStarted
    | StepFinished
    | EvaluationStarted
    | EvaluationFinished
    | ServicesBooked
    | CheckpointSaved
    | PolicySaved
    | Warned
    | AlarmRaised
    | AlarmOver
    | WarmstartProgress
    | HeldOutScored
)
"""Everything that ``on_event`` may receive."""

OnEvent = Callable[[Event], None]
"""Receives events in the order in which they happen, on the thread that trains."""


def ignore(event: Event) -> None:
    """Receive an event and do nothing: the default."""
