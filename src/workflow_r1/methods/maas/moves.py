"""The controller's moves, made of the operators of the pool, and their execution.

The solutions found so far are a list. A generator appends to it; Refine appends a revision of the latest; Ensemble
replaces it by its pick. If more than one is left at the end, they go through Ensemble once more.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from workflow_r1.errors import DataError
from workflow_r1.methods.maas.controller import Array, Controller, Draw
from workflow_r1.methods.passages import put_before, show_passages
from workflow_r1.methods.workflow import Workflow
from workflow_r1.operators import OPERATORS, Operator
from workflow_r1.operators.results import Result, read_result

Steps = Generator[Sequence[str], list[str], None]
"""Calls that run side by side, then their observations."""


@dataclass(slots=True)
class Solving:
    """One question while it is worked on."""

    question: str
    """Question as it was asked."""
    found: str = ""
    """Passages that a search found, as they stand before the question."""
    solutions: list[str] = field(default_factory=list)
    """Solutions so far; the last is the current one."""

    @property
    def asked(self) -> str:
        """The question, with the findings of a search before it."""
        return put_before(self.question, self.found)


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that a layer may do."""

    name: str
    """Name in logs, and in its embedding."""
    description: str
    """Description in its embedding."""
    carry_out: Callable[[Solving], Steps]
    """Does it."""
    operators: tuple[str, ...] = ()
    """Operators that it needs in the pool."""
    is_generator: bool = False
    """True where it makes a solution out of nothing."""

    def describe(self, number: int) -> str:
        """The text that is embedded."""
        return f"{number}. {self.name}: {self.description}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The controller's draws for one question, and their execution."""

    draws: tuple[Draw, ...]
    """Draws by layer, which the log-probability belongs to."""
    layers: tuple[tuple[int, ...], ...]
    """Moves to carry out by layer, in order."""


def _ask(call: str, operator: str) -> Generator[Sequence[str], list[str], Result]:
    observations = yield [call]
    return read_result(operator, observations[0] if observations else "")


def _generate(state: Solving) -> Steps:
    instruction = "Answer the question in a few words."
    call = f"Custom: <task>{state.asked}</task><instruction>{instruction}</instruction>"
    _append(state, (yield from _ask(call, "Custom")).result)


def _generate_reasoned(state: Solving) -> Steps:
    _append(state, (yield from _ask(f"AnswerGenerate: {state.asked}", "AnswerGenerate")).result)


def _generate_several(state: Solving) -> Steps:
    result = yield from _ask(f"MultiAnswerGenerate: {state.asked}", "MultiAnswerGenerate")
    for answer in result.answers:
        _append(state, answer)


def _ensemble(state: Solving) -> Steps:
    if len(state.solutions) < 2:
        return
    tagged = "".join(f"<solution>{solution}</solution>" for solution in state.solutions)
    result = yield from _ask(f"ScEnsemble: <query>{state.question}</query>{tagged}", "ScEnsemble")
    if result.result:
        state.solutions[:] = [result.result]


def _refine(state: Solving) -> Steps:
    if not state.solutions:
        return
    both = f"<question>{state.asked}</question><solution>{state.solutions[-1]}</solution>"
    verdict = yield from _ask(f"Review: {both}", "Review")
    if verdict.result:
        revised = yield from _ask(f"Revise: {both}<feedback>{verdict.result}</feedback>", "Revise")
        _append(state, revised.result)


def _search(state: Solving) -> Steps:
    state.found = show_passages((yield from _ask(f"Search: {state.question}", "Search")).text)


def _stop(state: Solving) -> Steps:
    return
    yield


def _append(state: Solving, solution: str) -> None:
    if solution:
        state.solutions.append(solution)


STOP = Move("EarlyStop", "ends the work here: what was found so far is good enough", _stop)

ENSEMBLE = Move("Ensemble", "chooses the most consistent among the solutions so far", _ensemble, ("ScEnsemble",))

BASIC = Move("Generate", "answers directly, with no reasoning", _generate, ("Custom",), is_generator=True)

MOVES = (
    BASIC,
    Move(
        "GenerateCoT", "reasons step by step, then answers", _generate_reasoned, ("AnswerGenerate",), is_generator=True
    ),
    Move(
        "MultiGenerateCoT",
        "reasons several times independently and gives several answers",
        _generate_several,
        ("MultiAnswerGenerate",),
        is_generator=True,
    ),
    ENSEMBLE,
    Move("SelfRefine", "reviews the latest solution and revises it by the review", _refine, ("Review", "Revise")),
    STOP,
    Move("Search", "finds passages about the question, which later steps read", _search, ("Search",)),
)
"""Moves in the order of MaAS's code; Search is ours."""


def moves_of(operators: Mapping[str, Operator]) -> list[Move]:
    """Return the moves that a pool allows. A plug-in that takes one text is a further move: its input is the question.

    Raises:
        DataError: no move of the pool makes a solution.
    """
    moves = [move for move in MOVES if set(move.operators) <= set(operators)]
    for name, operator in operators.items():
        required = [argument for argument in operator.arguments if not argument.is_optional]
        if name not in OPERATORS and len(required) == 1 and required[0].type is str and not required[0].is_list:
            moves.append(
                Move(name, operator.purpose, _make_plugin_move(operator, required[0].name), (name,), is_generator=True)
            )
    if not any(move.is_generator for move in moves):
        raise DataError(
            "expected Custom, AnswerGenerate, MultiAnswerGenerate or a plug-in that takes one text in the pool, received "
            f"{', '.join(operators)}; add one to environment.operators"
        )
    return moves


def _make_plugin_move(operator: Operator, argument: str) -> Callable[[Solving], Steps]:
    is_whole = len(operator.arguments) == 1

    def carry_out(state: Solving) -> Steps:
        text = state.asked if is_whole else f"<{argument}>{state.asked}</{argument}>"
        _append(state, (yield from _ask(f"{operator.name}: {text}", operator.name)).result)

    return carry_out


def draw_plan(controller: Controller, moves: Sequence[Move], query: Array, *, threshold: float, rng: Random) -> Plan:
    """Draw a plan for one question.

    The first layer is mended, as in MaAS: where it drew EarlyStop, or nothing that makes a solution, it becomes the first
    generator alone; else its first generator goes to the front, behind a search. EarlyStop in the first layer ends the
    plan; in a later one that layer is carried out, and none after it.
    """
    draws: list[Draw] = []
    layers: list[tuple[int, ...]] = []
    previous: int | None = None
    for layer in range(controller.num_layers):
        draw = controller.draw(query, layer, previous, threshold=threshold, rng=rng)
        chosen = draw.moves if layer else _mend(draw.moves, moves)
        draws.append(draw)
        layers.append(chosen)
        if any(moves[move] is STOP for move in draw.moves):
            break
        previous = chosen[0]
    return Plan(tuple(draws), tuple(layers))


def _mend(drawn: tuple[int, ...], moves: Sequence[Move]) -> tuple[int, ...]:
    generators = [move for move in drawn if moves[move].is_generator]
    if not generators or any(moves[move] is STOP for move in drawn):
        return (next(number for number, move in enumerate(moves) if move.is_generator),)
    front = [move for move in drawn if moves[move].name == "Search"] + generators[:1]
    return (*front, *(move for move in drawn if move not in front))


def carry_out_plan(plan: Plan, moves: Sequence[Move], question: str) -> Workflow:
    """Carry out a plan, move after move."""
    state = Solving(question)
    for layer in plan.layers:
        for move in layer:
            yield from moves[move].carry_out(state)
    if ENSEMBLE in moves:
        yield from ENSEMBLE.carry_out(state)
    return state.solutions[-1] if state.solutions else ""
