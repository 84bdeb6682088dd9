"""View of a trajectory, live or stored: the policy's thoughts and calls, the observations, and the usage."""

import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.spinner import Spinner
from rich.text import Text

from workflow_r1.prompts import ParsedCall, cut_middle, parse_turn
from workflow_r1.rollout.events import TurnFinished, TurnSampled, TurnStarted
from workflow_r1.running.asking import AskEvent, QuestionAsked
from workflow_r1.trajectory import AnswerReward, OperatorCall, Reward, ScoredTrajectory, StopReason
from workflow_r1.trajectory.records import compares_answers
from workflow_r1.workflows import EffectKind, Flow, trace_effects, trace_flow
from workflow_r1.workflows.flow import ANSWER

if TYPE_CHECKING:
    from workflow_r1.trajectory import Question, Trajectory, Turn, Usage

MAX_TEXT_CHARS = 2100
"""A longer text of anyone is shown by its two ends; the saved trajectory has all of it. An observation is shorter."""

CHANGES = {
    EffectKind.WRONG_TO_RIGHT: "the answer became right",
    EffectKind.RIGHT_TO_WRONG: "the right answer became wrong",
}
"""Effects that are worth a line."""


class LiveTrace:
    """Shows turns as they come. In a terminal a line at the bottom names the thing that it waits for; elsewhere lines are plain.

    Args:
        console: console of the view.
        currency: currency of the costs; empty where it is unknown.
    """

    def __init__(self, console: Console, *, currency: str = "USD") -> None:
        self._console = console
        self._currency = currency
        self._waiting_for = ""
        self._writes_tags = True
        self._since = 0.0
        self._spinner = Spinner("dots")

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the thing that it waits for while the context lasts."""
        self._wait_for("getting ready")
        if not self._console.is_terminal:
            yield
            return
        with Live(self, console=self._console, transient=True, refresh_per_second=8):
            yield

    def show_question(self, question: "Question", *, title: str, policy: str) -> None:
        """Show the question, and the policy that it goes to."""
        from workflow_r1.evaluation import question_class

        body = Text(_shown(question.text), style="bold")
        if question.golden_answers:
            body.append(f"\ngold: {', '.join(question.golden_answers)}   ({question_class(question)})", style="dim")
        if not self._console.is_terminal:
            self._print(Text(f"{title}, {policy}"))
            self._print(body)
            return
        self._console.print(
            Panel(
                body,
                title=Text(title),
                subtitle=Text(policy, style="dim"),
                title_align="left",
                subtitle_align="right",
            )
        )

    def receive(self, event: AskEvent) -> None:
        """Show one event."""
        match event:
            case QuestionAsked():
                self._writes_tags = event.writes_tags
                self.show_question(event.question, title=event.title, policy=event.policy)
                self._wait_for("the policy's first turn")
            case TurnStarted():
                self._wait_for(f"turn {event.index}: the policy writes")
            case TurnSampled():
                self._show_turn(event)
            case TurnFinished():
                self._show_observations(event.turn)

    def show_outcome(self, trajectory: "Trajectory") -> None:
        """Show the answer and the whole usage."""
        line = Text("\n")
        if trajectory.stop_reason is StopReason.DONE:
            line.append("done", style="bold")
        elif trajectory.answer is None:
            line.append(f"no answer ({trajectory.stop_reason})", style="bold red")
        else:
            line.append(_shown(trajectory.answer), style="bold")
        if isinstance(trajectory, ScoredTrajectory):
            success = trajectory.reward.success
            words = ("right", "wrong") if compares_answers(trajectory.reward) else ("success", "no success")
            if success is not None:
                line.append(
                    f"  ✓ {words[0]}" if success else f"  ✗ {words[1]}", style="bold green" if success else "bold red"
                )
            line.append(f"   reward {trajectory.reward.total:g}{_further_parts(trajectory.reward)}", style="dim")
        self._print(line)
        self._print(Text(", ".join(outcome_parts(trajectory, self._currency)), style="dim"))

    def show_stored(self, trajectory: "Trajectory", *, title: str) -> None:
        """Show a stored trajectory as a whole, each call with the origins of its input and its effect on the answer."""
        self.show_question(trajectory.question, title=title, policy=trajectory.policy)
        flow, effects = trace_flow(trajectory), {effect.call: effect for effect in trace_effects(trajectory)}
        self._writes_tags = any(parse_turn(turn.text).think is not None for turn in trajectory.turns)
        for turn in trajectory.turns:
            tokens = len(turn.token_ids) or turn.usage.completion_tokens
            took = [*([count(tokens, "token")] if tokens else []), *money_parts(turn.usage, self._currency)]
            self._show_text(turn.index, turn.text, took)
            calls: Sequence[ParsedCall | OperatorCall] = turn.calls or parse_turn(turn.text).calls
            for number, call in enumerate(calls, start=1):
                id = f"call-{turn.index}-{number}"
                self._show_call(call)
                self._show_origins(flow, id)
                if isinstance(call, OperatorCall):
                    self._show_observation(call)
                if id in effects and effects[id].kind in CHANGES:
                    self._print(Text(CHANGES[effects[id].kind], style="bold magenta"), indent=4)
            if not turn.calls:
                self._show_observations(turn)
        if trajectory.answer is not None:
            self._show_origins(flow, ANSWER)
        if trajectory.error:
            self._print(Text(_shown(trajectory.error), style="red"))
        self.show_outcome(trajectory)

    def _show_origins(self, flow: Flow, node: str) -> None:
        for edge in flow.edges:
            if edge.target == node and edge.kind == "data":
                self._print(Text(f"← {edge.source}: {edge.text}", style="dim"), indent=4)

    def __rich__(self) -> RenderableType:
        """Line that names the thing that it waits for."""
        waited = time.monotonic() - self._since
        self._spinner.update(text=Text(f"{self._waiting_for}  {waited:.0f} s", style="dim"))
        return self._spinner

    def _wait_for(self, what: str) -> None:
        self._waiting_for, self._since = what, time.monotonic()

    def _show_turn(self, event: TurnSampled) -> None:
        sampled = event.sampled
        tokens = len(sampled.token_ids) or sampled.usage.completion_tokens
        took = [
            *([count(tokens, "token")] if tokens else []),
            f"{event.seconds:.2f} s",
            *money_parts(sampled.usage, self._currency),
        ]
        self._show_text(event.index, sampled.text, took)
        calls = parse_turn(sampled.text).calls
        for call in calls:
            self._show_call(call)
        if calls:
            names = ", ".join(dict.fromkeys(call.operator for call in calls))
            self._wait_for(f"turn {event.index}: {names}")

    def _show_text(self, index: int, text: str, took: Sequence[str]) -> None:
        parsed = parse_turn(text)
        # Everything of a malformed turn is shown: its fault stands there. So is everything of another format.
        malformed = parsed.malformed and self._writes_tags
        line = Text(f"\n{index}", style="bold cyan")
        line.append(" ")
        line.append(
            _shown(text if parsed.malformed or not self._writes_tags else parsed.think or ""),
            style="red" if malformed else "italic",
        )
        line.append(f"   {', '.join(took)}" if took else "", style="dim")
        self._print(line)

    def _show_call(self, call: ParsedCall | OperatorCall) -> None:
        line = Text("  → ", style="dim")
        line.append(call.operator, style="bold yellow")
        line.append(f"  {_shown(call.input)}")
        self._print(line)

    def _show_observations(self, turn: "Turn") -> None:
        for call in turn.calls:
            self._show_observation(call)
        if not turn.calls and turn.observation:
            told = turn.observation.removeprefix("<info>").removesuffix("</info>")
            self._print(Text(_shown(told), style="dim"), indent=4)

    def _show_observation(self, call: OperatorCall) -> None:
        body = Text(_shown(call.observation), style="green" if call.valid else "red")
        took = [f"{call.seconds:.2f} s", *usage_parts(call.usage, self._currency)]
        body.append(f"   {', '.join(took)}", style="dim")
        self._print(body, indent=4)

    def _print(self, text: Text, *, indent: int = 0) -> None:
        if self._console.is_terminal:
            self._console.print(Padding(text, (0, 0, 0, indent)))
        else:
            # One line stays one line, however long: the reader of a pipe has no width.
            self._console.print(Text(textwrap.indent(text.plain, " " * indent)), soft_wrap=True)


def _shown(text: str) -> str:
    return cut_middle(text, MAX_TEXT_CHARS)


def _further_parts(reward: Reward) -> str:
    """Show the parts of a reward that is not the paper's."""
    parts = {} if isinstance(reward, AnswerReward) else reward.parts
    return f" ({', '.join(f'{name} {value:g}' for name, value in parts.items())})" if parts else ""


def outcome_parts(trajectory: "Trajectory", currency: str) -> list[str]:
    """Usage of a trajectory: turns, calls, tokens, money, seconds."""
    tokens = trajectory.num_policy_tokens or trajectory.policy_usage.completion_tokens
    return [
        count(len(trajectory.turns), "turn"),
        count(sum(len(turn.calls) for turn in trajectory.turns), "operator call"),
        *([count(tokens, "policy token")] if tokens else []),
        *_call_parts(trajectory.usage),
        *money_parts(trajectory.usage + trajectory.policy_usage, currency),
        f"{trajectory.seconds:.1f} s",
    ]


def usage_parts(usage: "Usage", currency: str) -> list[str]:
    """Usage of some calls: LLM calls with their tokens, and money."""
    return [*_call_parts(usage), *money_parts(usage, currency)]


def money_parts(usage: "Usage", currency: str) -> list[str]:
    """Cost of some calls; empty where they are free, ``cost unknown`` where a price is unknown."""
    if usage.cost is None or usage.paid is None:
        return ["cost unknown"]
    if not usage.cost:
        return []
    paid = f" (paid {usage.paid:.6f})" if usage.paid != usage.cost else ""
    return [f"cost {usage.cost:.6f} {currency}".rstrip() + paid]


def _call_parts(usage: "Usage") -> list[str]:
    if not usage.llm_calls:
        return []
    tokens = "tokens unknown" if usage.tokens is None else count(usage.tokens, "token")
    stored = f", {usage.stored_calls} from the store" if usage.stored_calls else ""
    return [f"{count(usage.llm_calls, 'LLM call')} ({tokens}{stored})"]


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
