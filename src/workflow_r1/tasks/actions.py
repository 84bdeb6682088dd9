"""Reads a turn's text as an action, in each of the three formats. Every reader is linear in its input and never raises."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from workflow_r1.prompts import ParsedCall, parse_turn
from workflow_r1.tasks.task import Action, ActionFormat

ANSWER = "answer"
"""Name of the action of a policy that writes an ``<answer>``."""

_WRAPPINGS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "```json", "```", "[", "]")
"""Text around a tool call by which models' own formats mark it."""


@dataclass(frozen=True, slots=True)
class ReadTurn:
    """A turn as its format reads it: an action, or operator calls, or neither."""

    action: Action | None = None
    """The task's own action."""
    calls: tuple[ParsedCall, ...] = ()
    """Calls of operators."""
    well_formed: bool = False
    """The turn follows the format to the letter."""
    problem: str | None = None
    """Text for the policy, where there is nothing to act on."""
    unknown: ParsedCall | None = None
    """The call of a name that is neither an action nor an operator; ``problem`` says so."""


def read_turn(
    text: str, action_format: ActionFormat, *, actions: Mapping[str, str], operators: Collection[str]
) -> ReadTurn:
    """Read one turn.

    Args:
        text: everything that the policy wrote in the turn.
        action_format: form of an action.
        actions: the task's actions by name; none takes every name.
        operators: names of the operators that may be called beside them.
    """
    match action_format:
        case "tags":
            return _read_tags(text, actions, operators)
        case "json":
            return _read_json(text, actions, operators)
        case "text":
            return _read_text(text, actions)


def how_to_act(
    action_format: ActionFormat, *, actions: Mapping[str, str], operators: Mapping[str, str] | None = None
) -> str:
    """Say how to write an action, with all that can be written.

    Args:
        action_format: form of an action.
        actions: the task's actions by name, with a line on their input.
        operators: usage lines of the operators by name.
    """
    if action_format == "text":
        does = next(iter(actions.values()), "")
        return f"Think first, inside <think>...</think>. Then write your action alone{f': {does}' if does else ''}."
    lines = []
    for name, does in actions.items():
        if action_format == "json":
            lines.append(f'{{"name": {json.dumps(name)}, "arguments": {{...}}}} with {does}')
        elif name == ANSWER:
            lines.append(f"<answer>...</answer> with {does}")
        else:
            lines.append(f"<tool>{name}: ...</tool> with {does}")
    for name, usage in (operators or {}).items():
        lines.append(
            f'{{"name": {json.dumps(name)}, "arguments": {{...}}}}: {usage}'
            if action_format == "json"
            else f"<tool>{usage}</tool>"
        )
    form = "one JSON object" if action_format == "json" else "exactly one action"
    menu = "".join(f"\n- {line}" for line in lines)
    return f"Think first, inside <think>...</think>. Then write {form}{f':{menu}' if menu else '.'}"


def _read_tags(text: str, actions: Mapping[str, str], operators: Collection[str]) -> ReadTurn:
    turn = parse_turn(text)
    if turn.malformed:
        return ReadTurn(problem=f"Nothing was run. {how_to_act('tags', actions=actions)}")
    if turn.answer is not None:
        if actions and ANSWER not in actions:
            return ReadTurn(problem=f"This task takes no <answer>. {how_to_act('tags', actions=actions)}")
        return ReadTurn(action=Action(ANSWER, turn.answer), well_formed=turn.well_formed)
    own = [call for call in turn.calls if _is_action(call.operator, actions, operators)]
    if own and len(turn.calls) > 1:
        return ReadTurn(problem=f"Nothing was run: one action in a turn. {how_to_act('tags', actions=actions)}")
    if own:
        return ReadTurn(action=Action(own[0].operator, own[0].input), well_formed=turn.well_formed)
    if all(call.operator not in operators for call in turn.calls):
        problem = _no_such(actions, operators, "tags")
        return ReadTurn(problem=problem, unknown=turn.calls[0], well_formed=turn.well_formed)
    return ReadTurn(calls=turn.calls, well_formed=turn.well_formed)


def _read_json(text: str, actions: Mapping[str, str], operators: Collection[str]) -> ReadTurn:
    think, rest = _after_thought(text)
    start = -1 if rest is None else rest.find("{")
    if rest is None or start < 0:
        return ReadTurn(problem=f"Nothing was run. {how_to_act('json', actions=actions)}")
    try:
        found, end = _DECODER.raw_decode(rest, start)
    except (ValueError, RecursionError) as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        return ReadTurn(problem=f"Nothing was run: that is not JSON ({told}). {how_to_act('json', actions=actions)}")
    name, arguments = _read_call(found)
    if name is None or arguments is None:
        return ReadTurn(problem=f"Nothing was run: no name or no arguments. {how_to_act('json', actions=actions)}")
    around = f"{rest[:start]}\n{rest[end:]}"
    for wrapping in _WRAPPINGS:
        around = around.replace(wrapping, "")
    well_formed = bool(think) and not around.strip()
    if _is_action(name, actions, operators):
        written = json.dumps(arguments, ensure_ascii=False)
        return ReadTurn(action=Action(name, written, arguments), well_formed=well_formed)
    if name not in operators:
        unknown = ParsedCall(name, json.dumps(arguments, ensure_ascii=False))
        return ReadTurn(problem=_no_such(actions, operators, "json"), unknown=unknown, well_formed=well_formed)
    # Operators take one argument as it stands, several in tags of their names.
    values = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in arguments.values()
    ]
    tagged = "".join(f"<{key}>{value}</{key}>" for key, value in zip(arguments, values, strict=True))
    return ReadTurn(calls=(ParsedCall(name, values[0] if len(values) == 1 else tagged),), well_formed=well_formed)


def _read_text(text: str, actions: Mapping[str, str]) -> ReadTurn:
    think, rest = _after_thought(text)
    written = "" if rest is None else rest.strip()
    if not written:
        return ReadTurn(problem=f"Nothing was run. {how_to_act('text', actions=actions)}")
    name = next(iter(actions)) if len(actions) == 1 else ""
    return ReadTurn(action=Action(name, written), well_formed=bool(think))


def _after_thought(text: str) -> tuple[str, str | None]:
    """Return the thought and what follows it; None where a thought never ends."""
    if not text.lstrip().startswith("<think>"):
        return "", text
    thought, closing, rest = text.partition("</think>")
    return thought.lstrip().removeprefix("<think>").strip(), rest if closing else None


def _read_call(found: Any) -> tuple[str | None, dict[str, Any] | None]:
    """Return name and arguments of a tool call, in the shapes that models write."""
    if isinstance(found, dict) and isinstance(found.get("function"), dict):
        found = found["function"]
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None, None
    arguments = found.get("arguments", found.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments)
        except (ValueError, RecursionError):
            return found["name"], None
    return found["name"], arguments if isinstance(arguments, dict) else None


def _is_action(name: str, actions: Mapping[str, str], operators: Collection[str]) -> bool:
    return name in actions if actions else name not in operators


def _no_such(actions: Mapping[str, str], operators: Collection[str], action_format: ActionFormat) -> str:
    # The name is the policy's own text, which it has in its context already.
    names = ", ".join((*actions, *operators))
    return f"There is no such action. Actions: {names or 'none'}. {how_to_act(action_format, actions=actions)}"


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
