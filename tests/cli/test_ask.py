"""``workflow-r1 ask``: the live trace, the saved files, and an interrupt."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from workflow_r1.rollout import SampledTurn, TurnFinished, TurnSampled, TurnStarted
from workflow_r1.running.terminal import Terminal
from workflow_r1.running.trace import LiveTrace, money_parts, usage_parts
from workflow_r1.trajectory import FinishReason, OperatorCall, Question, Turn, Usage, load_trajectories

TEXT = "<think>look it up</think><tool>Search: jaws</tool>"
USAGE = Usage(llm_calls=2, prompt_tokens=300, completion_tokens=10, cost=0.0025, paid=0.001, stored_calls=1)


def sampled(text: str = TEXT, num_tokens: int = 3, usage: Usage | None = None) -> TurnSampled:
    ids = tuple(range(num_tokens))
    turn = SampledTurn(
        text=text, token_ids=ids, logprobs=(0.0,) * num_tokens, finish_reason=FinishReason.STOP, usage=usage or Usage()
    )
    return TurnSampled(1, turn, seconds=1.5)


def finished(*calls: OperatorCall, observation: str = "<info>x</info>") -> TurnFinished:
    return TurnFinished(Turn(index=1, text=TEXT, well_formed=True, calls=calls, observation=observation))


def shown(*events, terminal: bool = False, width: int = 80) -> str:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=terminal, width=width, color_system=None)
    trace = LiveTrace(console)
    for event in events:
        trace.receive(event)
    return file.getvalue()


def test_a_turn_shows_thought_operator_arguments_result_tokens_seconds_and_money() -> None:
    call = OperatorCall(
        operator="Search", input="jaws", observation="Spielberg\nmade it", valid=True, usage=USAGE, seconds=0.25
    )
    assert shown(TurnStarted(1), sampled(), finished(call)) == (
        "\n1 look it up   3 tokens, 1.50 s\n"
        "  → Search  jaws\n"
        "    Spielberg\n"
        "    made it   0.25 s, 2 LLM calls (310 tokens, 1 from the store), cost 0.002500 USD (paid 0.001000)\n"
    )


def test_unknown_prices_are_told_and_free_calls_are_not() -> None:
    assert usage_parts(Usage(llm_calls=1, prompt_tokens=1, cost=None, paid=None), "EUR") == [
        "1 LLM call (1 token)",
        "cost unknown",
    ]
    assert money_parts(Usage(searches=3, cost=0.0, paid=0.0), "EUR") == []
    assert money_parts(Usage(cost=0.5, paid=0.5), "EUR") == ["cost 0.500000 EUR"]
    usage = Usage(llm_calls=1, completion_tokens=7, cost=None, paid=None)
    assert "7 tokens, 1.50 s, cost unknown" in shown(sampled(num_tokens=0, usage=usage))


def test_a_pipe_gets_whole_lines_and_a_terminal_gets_wrapped_ones() -> None:
    long = OperatorCall(operator="Search", input="jaws", observation="word " * 60, valid=True)
    assert max(map(len, shown(finished(long)).splitlines())) > 300
    lines = shown(finished(long), terminal=True, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert all(line.startswith("    ") for line in lines)


def test_a_malformed_turn_is_shown_whole_with_what_it_was_told() -> None:
    told = shown(sampled("no tags [bold]here[/]"), finished(observation="<info>Write a tag.</info>"))
    assert "1 no tags [bold]here[/]" in told
    assert "\n    Write a tag.\n" in told


def test_outside_text_cannot_steer_the_terminal() -> None:
    call = OperatorCall(operator="Search", input="\x1b[2J", observation="\x1b]0;x\x07", valid=True)
    assert "\x1b" not in shown(sampled(), finished(call))


def test_a_terminal_says_what_is_waited_for() -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=True, width=80, color_system=None)
    trace = LiveTrace(console)
    with trace.live():
        trace.receive(TurnStarted(1))
        console.print(trace)
        trace.receive(sampled())
        console.print(trace)
    assert "turn 1: the policy writes  0 s" in file.getvalue()
    assert "turn 1: Search  0 s" in file.getvalue()
    piped = io.StringIO()
    trace = LiveTrace(Terminal(file=piped))
    with trace.live():
        trace.show_question(Question(id="q", text="Who?", golden_answers=()), title="t", policy="p")
    assert piped.getvalue() == "t, p\nWho?\n"


ASK = ("ask", "-m", "cot", "Who directed Jaws?")


def test_trajectories_are_appended_and_it_says_where(call: Callable, tmp_path: Path) -> None:
    assert "saved to runs/asked/trajectories.jsonl" in call(*ASK).stdout
    done = call(*ASK, "--json")
    assert "saved to" in done.stderr
    kept = load_trajectories(tmp_path / "runs" / "asked" / "trajectories.jsonl")
    assert len({trajectory.id for trajectory in kept}) == 2
    assert json.loads(done.stdout) == kept[1].model_dump(mode="json")
    call(*ASK, "--save", "mine/t.jsonl", "--json")
    assert len(load_trajectories(tmp_path / "mine" / "t.jsonl")) == 1


def test_nothing_is_saved_where_that_is_asked(call: Callable, tmp_path: Path) -> None:
    assert "saved" not in call(*ASK, "--no-save").stdout
    assert list(tmp_path.iterdir()) == []
    assert call(*ASK, "--no-save", "--save", "x").returncode == 2


def test_an_interrupt_ends_it_cleanly(tmp_path: Path) -> None:
    """A policy behind a server that never answers: Ctrl-C while its first turn is waited for."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        process = subprocess.Popen(
            [sys.executable, "-m", "workflow_r1.cli", "ask", "Who?", "-o", f"policy.base_url={address}", "-o", "policy.model=m"],
            cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was saved" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
