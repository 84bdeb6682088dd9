"""Display of a run while it trains: a live board in a terminal, plain lines elsewhere.

Both receive the engine's events; they never touch the run itself.
"""

import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.status import Status
from rich.table import Table
from rich.text import Text

from workflow_r1.running.terminal import Terminal

if TYPE_CHECKING:
    from workflow_r1.recording.alarms import Alarm
    from workflow_r1.recording.events import AlarmOver, Event, ServicesBooked, StopRequested
    from workflow_r1.trajectory import Reward, Trajectory

CALLS = "rollout/calls/"
TOKENS_PER_SECOND = "time/sampled_tokens_per_second"
ROWS_SHOWN = 12
OPERATOR_STYLES = ("cyan", "yellow", "magenta", "green", "blue", "red", "bright_cyan", "bright_yellow")


class TrainingBoard:
    """State of a run so far, and its picture on the screen.

    Args:
        title: first line.
        place: path of the run directory to show.
        clock: seconds that only rise.
    """

    def __init__(self, title: str, place: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.title = title
        self.place = place
        self._clock = clock
        self._parameters = ""
        self._step = 0
        self._num_steps = 0
        self._phase = "loading the policy"
        self._phase_started = clock()
        self._done = 0
        self._total = 0
        self._finished_at: list[tuple[int, float]] = []
        self._rows: list[Mapping[str, Any]] = []
        self._evaluations: list[tuple[int, Mapping[str, Any]]] = []
        self._notes: list[str] = []
        self._alarms: dict[str, Alarm] = {}
        self._live: Counter[str] = Counter()
        self._measure = ""
        self._ended = False
        self.services: ServicesBooked | None = None
        """Usage of services by the last step's training."""
        self._spent = ""

    def receive(self, event: "Event") -> None:
        """Take in one event of the engine."""
        from workflow_r1.recording import events

        match event:
            case events.RunStarted():
                self._step = event.step
                self._num_steps = event.num_steps
                self._parameters = _parameters(event.num_parameters, event.num_trainable_parameters)
                self._finished_at = [(event.step, self._clock())]
            case events.StepStarted():
                self._enter(f"step {event.step}: rollouts")
                self._num_steps = event.num_steps
            case events.TrajectoryFinished():
                self._done, self._total = event.done, event.total
                reward = getattr(event.trajectory, "reward", None)
                self._live["scored"] += reward is not None
                self._live["right"] += reward is not None and reward.success is True
                self._measure = _name_of(reward) if reward is not None else self._measure
            case events.UpdateStarted():
                self._enter(f"step {event.step}: update, {event.num_mini_batches} mini-batches")
            case events.StepFinished():
                self._step = event.step
                self._rows.append(event.metrics)
                self._finished_at.append((event.step, self._clock()))
                self._enter("between steps")
            case events.EvaluationStarted():
                self._enter(f"evaluation on {event.num_questions} held-out questions")
            case events.EvaluationFinished():
                self._evaluations.append((event.step, event.metrics))
                self._enter("between steps")
            case events.WarmstartProgress():
                self._step, self._num_steps = event.step, event.num_steps
                self._rows.append(event.metrics)
                self._finished_at.append((event.step, self._clock()))
                self._enter("supervised training on demonstrations")
            case events.HeldOutScored():
                self._notes.append(f"held out at step {event.step}: {_held_out(event.metrics)}")
            case events.ServicesBooked():
                self.services = event if event.stage == "training" else self.services
                self._spent = event.spent
            case events.CheckpointSaved():
                self._notes.append(f"checkpoint at step {event.step}")
            case events.PolicySaved():
                self._enter("the policy is saved")
                self._ended = True
            case events.Warned():
                self._notes.append(f"warning: {event.message}")
            case events.AlarmRaised():
                self._alarms[event.alarm.kind] = event.alarm
            case events.AlarmOver():
                self._alarms.pop(event.end.kind, None)
                self._notes.append(_over(event))
            case events.StopRequested():
                self._notes.append(_stopping(event))
            case _:
                pass

    def note(self, text: str) -> None:
        """Show a remark of the command itself."""
        self._notes.append(text)

    def _enter(self, phase: str) -> None:
        self._phase, self._phase_started = phase, self._clock()
        self._done = self._total = 0
        self._live.clear()

    def seconds_left(self) -> float | None:
        """Estimate from the last steps; None before the first."""
        if len(self._finished_at) < 2 or self._ended:
            return None
        (first, start), (last, end) = self._finished_at[max(0, len(self._finished_at) - 9)], self._finished_at[-1]
        left = (self._num_steps - last) * (end - start) / max(1, last - first)
        return max(0.0, left - (self._clock() - end))

    def __rich__(self) -> RenderableType:
        """The whole board."""
        parts: list[RenderableType] = [self._head(), Text()]
        if self._rows and "rollout/reward" in self._rows[-1]:
            parts += [self._step_table(), self._mix()]
        elif self._rows:
            parts.append(self._warmstart_line())
        if self._evaluations:
            parts.append(self._evaluation_line())
        if self.services is not None:
            parts.append(Text(f"\nservices  {_taken(self.services)}; spent in all {self._spent}", style="dim"))
        for alarm in self._alarms.values():
            parts.append(Text(f"alarm since step {alarm.step}: {alarm.message}; {alarm.remedy}", style="bold red"))
        for note in self._notes[-3:]:
            parts.append(Text(note, style="yellow" if note.startswith(("warning", "stopping")) else "dim"))
        return Group(*parts)

    def _head(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        head.add_row(Text(self.title, style="bold"), Text(f"{self._parameters}  {self.place}", style="dim"))
        progress = Table.grid(padding=(0, 1))
        left = self.seconds_left()
        progress.add_row(
            Text(f"step {self._step}/{self._num_steps or '?'}"),
            ProgressBar(total=max(1, self._num_steps), completed=self._step, width=32),
            Text(f"{_clock_time(left)} left" if left is not None else "", style="dim"),
        )
        if self._total:
            right, scored = self._live["right"], self._live["scored"]
            so_far = f"{right / scored:.2f} {self._measure} so far" if scored and self._measure else ""
            progress.add_row(
                Text(f"{self._done}/{self._total}"),
                ProgressBar(total=self._total, completed=self._done, width=32, complete_style="cyan"),
                Text(f"{self._phase}  {so_far}", style="dim"),
            )
        else:
            waiting = self._clock() - self._phase_started
            waited = Text("" if self._ended else f"{waiting:.0f} s", style="dim")
            progress.add_row(Text(), Text(self._phase, style="dim"), waited)
        return Group(head, progress)

    def _step_table(self) -> Table:
        from workflow_r1.evaluation.figures import MEASURES
        from workflow_r1.recording.metrics import headline_of, tell_left_out

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        measure = headline_of(self._rows[-1], "rollout")
        # A task that does not say success shows its reward alone, once.
        named = [] if measure == "reward" else [MEASURES[measure]]
        for name in ("step", "reward", *named, "turns", "malformed", "tokens/s", "seconds"):
            table.add_column(name, justify="right")
        for row in self._rows[-ROWS_SHOWN:]:
            table.add_row(
                str(row["step"]),
                _number(row, "rollout/reward", "+.3f"),
                *([_number(row, f"rollout/{measure}", ".3f") + tell_left_out(row, "rollout")] if named else []),
                _number(row, "rollout/turns", ".2f"),
                _number(row, "rollout/malformed_rate", ".2f"),
                _number(row, TOKENS_PER_SECOND, ".0f"),
                _number(row, "time/step_seconds", ".1f"),
            )
        return table

    def _mix(self) -> RenderableType:
        calls = operator_mix(self._rows[-1])
        most = max(calls.values(), default=1.0) or 1.0
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for index, (name, number) in enumerate(calls.items()):
            style = OPERATOR_STYLES[index % len(OPERATOR_STYLES)]
            table.add_row(
                Text(name, style="dim"), Text("█" * max(1, round(24 * number / most)), style=style), f"{number:.2f}"
            )
        return Group(Text("\noperator calls per question", style="dim"), table) if calls else Text()

    def _warmstart_line(self) -> Text:
        row = self._rows[-1]
        return Text(
            f"loss {_number(row, 'warmstart/loss', '.4f')}  gradient norm {_number(row, 'warmstart/grad_norm', '.3f')}"
        )

    def _evaluation_line(self) -> Text:
        from workflow_r1.evaluation.figures import MEASURES
        from workflow_r1.recording.metrics import headline_of, tell_left_out

        shown = self._evaluations if len(self._evaluations) <= 6 else [self._evaluations[0], *self._evaluations[-5:]]
        measure = headline_of(self._evaluations[-1][1], "evaluation")
        text = Text(f"\nheld-out {MEASURES[measure]}  ", style="dim")
        for index, (step, metrics) in enumerate(shown):
            text.append(" → " if index else "", style="dim")
            text.append(_number(metrics, f"evaluation/{measure}", ".3f"), style="bold green")
            text.append(f" (step {step}{tell_left_out(metrics, 'evaluation')})", style="dim")
        return text


class PlainLines:
    """One line per step and evaluation, for pipes and logs.

    A warm start has many short steps, or some long ones: every twentieth has a line, and each that ends half a minute after
    the last line.

    Args:
        console: receives the lines.
        board: state of the run.
        clock: seconds that only rise.
    """

    def __init__(self, console: Console, board: TrainingBoard, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._board = board
        self._clock = clock
        self._wrote_at = clock()

    def receive(self, event: "Event") -> None:
        """Take in one event and write a line where it is worth one."""
        from workflow_r1.recording import events
        from workflow_r1.recording.metrics import tell_left_out

        self._board.receive(event)
        match event:
            case events.RunStarted():
                parameters = _parameters(event.num_parameters, event.num_trainable_parameters)
                self.note(f"{self._board.title}: {parameters}, {self._board.place}, from step {event.step}")
            case events.StepFinished():
                row = event.metrics
                calls = " ".join(f"{name} {number:.2f}" for name, number in operator_mix(row).items())
                left = self._board.seconds_left()
                services = f"  services: {_taken(self._board.services)}" if self._board.services else ""
                self.note(
                    f"step {event.step}/{event.num_steps}"
                    f"  reward {_number(row, 'rollout/reward', '+.3f')}"
                    f"{_sampled_rate(row)}{tell_left_out(row, 'rollout')}"
                    f"  turns {_number(row, 'rollout/turns', '.2f')}"
                    f"  {_number(row, TOKENS_PER_SECOND, '.0f')} tokens/s"
                    f"  {_number(row, 'time/step_seconds', '.1f')} s"
                    f"  {_clock_time(left) if left is not None else '?'} left  [{calls}]{services}"
                )
            case events.EvaluationFinished():
                metrics = event.metrics
                self.note(
                    f"held out at step {event.step}: {_held_out_rate(metrics)}{tell_left_out(metrics, 'evaluation')}"
                )
            case events.WarmstartProgress():
                is_due = event.step % 20 == 0 or event.step in (1, event.num_steps)
                if is_due or self._clock() - self._wrote_at >= 30.0:
                    left = self._board.seconds_left()
                    self.note(
                        f"step {event.step}/{event.num_steps}  loss {_number(event.metrics, 'warmstart/loss', '.4f')}"
                        f"  {_clock_time(left) if left is not None else '?'} left"
                    )
            case events.HeldOutScored():
                self.note(f"held out at step {event.step}: {_held_out(event.metrics)}")
            case events.CheckpointSaved():
                self.note(f"checkpoint at step {event.step}: {event.path.name}")
            case events.Warned():
                self.note(f"warning: {event.message}")
            case events.AlarmRaised():
                self.note(f"alarm at step {event.alarm.step}: {event.alarm.message}; {event.alarm.remedy}")
            case events.AlarmOver():
                self.note(_over(event))
            case events.StopRequested():
                self.note(_stopping(event))
            case _:
                pass

    def note(self, text: str) -> None:
        """Write one line."""
        self._wrote_at = self._clock()
        self._console.print(Text(text), soft_wrap=True)


@contextmanager
def watch(console: Console, title: str, place: str) -> Iterator["TrainingBoard | PlainLines"]:
    """Show a run while the context lasts: live in a terminal, line by line elsewhere."""
    board = TrainingBoard(title, place)
    if not console.is_terminal:
        yield PlainLines(console, board)
        return
    with Live(board, console=console, refresh_per_second=4):
        yield board


class TrainingDisplay:
    """Shows a run from its events, from the first preparation on. Use it as a context manager.

    Args:
        console: console of the display: live in a terminal, line by line in a notebook, a pipe or a log.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Terminal(force_jupyter=False)
        self._stack = ExitStack()
        self._status: Status | None = None
        self._shown: TrainingBoard | PlainLines | None = None
        self.directory: Path | None = None
        """The run directory, once there is one."""

    def __enter__(self) -> "TrainingDisplay":
        self._status = self._stack.enter_context(self._console.status("getting ready"))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def receive(self, event: "Event") -> None:
        """Show one event."""
        from workflow_r1.recording import events

        match event:
            case events.Preparing():
                if self._status is not None:
                    self._status.update(event.what)
            case events.RunOpened():
                self._stack.close()
                self.directory = event.directory
                self._shown = self._stack.enter_context(watch(self._console, event.title, show_path(event.directory)))
            case _:
                if self._shown is not None:
                    self._shown.receive(event)


class AnsweringDisplay:
    """Shows methods that answer questions, from events: an evaluation's or a rollout's. Use it as a context manager.

    Args:
        console: console of the display: live in a terminal, line by line in a notebook, a pipe or a log.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Terminal(force_jupyter=False)
        self._stack = ExitStack()
        self._status: Status | None = None
        self._counter: TrajectoryCounter | None = None
        self.directory: Path | None = None
        """Directory of the answers, once there is one."""

    def __enter__(self) -> "AnsweringDisplay":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def receive(self, event: "Event") -> None:
        """Show one event."""
        from workflow_r1.recording import events

        match event:
            case events.Preparing():
                if self._status is None:
                    self._clear()
                    self._status = self._stack.enter_context(self._console.status(event.what))
                self._status.update(event.what)
            case events.RunOpened():
                self.directory = event.directory
            case events.Noted():
                self._clear()
                self._console.print(event.line, soft_wrap=True, markup=False)
            case events.AnsweringStarted():
                self._clear()
                counter = TrajectoryCounter(self._console, event.title, event.total, done=event.done)
                self._counter = self._stack.enter_context(counter)
            case events.TrajectoryFinished():
                if self._counter is not None:
                    self._counter.count(event.trajectory)
            case _:
                pass

    def _clear(self) -> None:
        self._stack.close()
        self._status = self._counter = None


def show_path(path: Path) -> str:
    """A path as a person would type it: relative where it lies below the working directory, quoted where needed."""
    here = Path.cwd()
    absolute = path.resolve()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else path))


def operator_mix(row: Mapping[str, Any]) -> dict[str, float]:
    """Calls per question of each operator that was called at all, the most frequent first."""
    calls = {key.removeprefix(CALLS): value for key, value in row.items() if key.startswith(CALLS) and value}
    return dict(sorted(calls.items(), key=lambda entry: -entry[1]))


def _number(row: Mapping[str, Any], key: str, form: str) -> str:
    value = row.get(key)
    return "-" if value is None else format(value, form)


def _taken(services: "ServicesBooked") -> str:
    """Usage of services by a step's training, in a few words."""
    row = services.row
    stored = f" ({row['total/stored_calls']} stored)" if row["total/stored_calls"] else ""
    known = f"{row['total/prompt_tokens']}+{row['total/completion_tokens']} tokens"
    tokens = "tokens unknown" if row["total/unreported_calls"] else known
    paid = row["total/paid"]
    return f"{row['total/calls']} LLM calls{stored}, {tokens}, {'unknown' if paid is None else f'{paid:.4g}'} paid"


def _stopping(event: "StopRequested") -> str:
    return f"stopping: {event.what_follows} (Ctrl-C again aborts at once)"


def _over(event: "AlarmOver") -> str:
    from workflow_r1.recording.alarms import ALARM_TITLES

    return f"alarm over at step {event.end.step}: {ALARM_TITLES[event.end.kind]}"


def _sampled_rate(row: Mapping[str, Any]) -> str:
    """Exact match or success of a step, named; nothing where the reward is all that there is."""
    from workflow_r1.evaluation.figures import MEASURES
    from workflow_r1.recording.metrics import headline_of

    measure = headline_of(row, "rollout")
    return "" if measure == "reward" else f"  {MEASURES[measure]} {_number(row, f'rollout/{measure}', '.3f')}"


def _held_out_rate(row: Mapping[str, Any]) -> str:
    """The figure of a held-out evaluation, named, with its interval."""
    from workflow_r1.evaluation.figures import MEASURES
    from workflow_r1.recording.metrics import headline_of

    key = f"evaluation/{(measure := headline_of(row, 'evaluation'))}"
    interval = f" [{_number(row, f'{key}_low', '.3f')}, {_number(row, f'{key}_high', '.3f')}]"
    return f"{MEASURES[measure]} {_number(row, key, '.3f')}{'' if measure == 'reward' else interval}"


def _name_of(reward: "Reward") -> str:
    """The word for success of a reward; empty where it says none."""
    from workflow_r1.trajectory.records import compares_answers

    if compares_answers(reward):
        return "exact match"
    return "" if reward.success is None else "success"


def _held_out(metrics: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.removeprefix('held_out/')} {value:.4f}" for key, value in metrics.items() if value is not None
    )


def _parameters(number: int, trainable: int) -> str:
    def short(count: int) -> str:
        return f"{count / 1e9:.2f}B" if count >= 1e9 else f"{count / 1e6:.1f}M" if count >= 1e5 else str(count)

    return f"{short(number)} parameters" + (f", {short(trainable)} trained" if trainable != number else "")


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class TrajectoryCounter:
    """Counts trajectories as they finish: a bar in a terminal, a line for every tenth of them elsewhere."""

    def __init__(self, console: Console, title: str, total: int, *, done: int = 0) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._done = done
        self._first = done
        self._scored = self._right = self._failed = 0
        self._measure = ""
        self._started = time.monotonic()
        self._live = Live(self, console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> "TrajectoryCounter":
        if self._live is not None:
            self._live.start()
        elif self._first:
            self._console.print(Text(f"{self._title}: {self._first} of {self._total} are done already"), soft_wrap=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def count(self, trajectory: "Trajectory") -> None:
        """Count one more."""
        self._done += 1
        reward = getattr(trajectory, "reward", None)
        self._failed += trajectory.stop_reason.is_infrastructure
        self._scored += reward is not None
        self._right += reward is not None and reward.success is True
        self._measure = _name_of(reward) if reward is not None else self._measure
        tenth = max(1, self._total // 10)
        if self._live is None and (self._done % tenth == 0 or self._done == self._total):
            self._console.print(Text(f"{self._title}: {self._done}/{self._total}  {self._so_far()}"), soft_wrap=True)

    def _so_far(self) -> str:
        parts = []
        if self._scored and self._measure:
            parts.append(f"{self._measure} {self._right / self._scored:.3f}")
        if self._failed:
            known = self._scored and self._measure
            at_least = f", {self._right / (self._scored + self._failed):.3f} if wrong" if known else ""
            parts.append(f"{self._failed} left out{at_least}")
        elapsed, new = time.monotonic() - self._started, self._done - self._first
        if new:
            parts.append(f"{_clock_time(elapsed / new * max(0, self._total - self._done))} left")
        return "  ".join(parts)

    def __rich__(self) -> RenderableType:
        """The bar."""
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text(self._title, style="bold"),
            ProgressBar(total=max(1, self._total), completed=self._done, width=32),
            Text(f"{self._done}/{self._total}"),
            Text(self._so_far(), style="dim"),
        )
        return line
