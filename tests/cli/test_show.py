"""``workflow-r1 show``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from written_trajectories import written

from workflow_r1.trajectory import Question, StopReason, Usage, load_trajectories
from workflow_r1.trajectory.index import append_indexed

JAWS = "Where was the director of Jaws born?"
REVISE = f"Revise: <question>{JAWS}</question><solution>Cincinnati</solution><feedback>Sure?</feedback>"


def trajectories() -> list:
    def of(id: str, question: str | Question, *turns, step: int):
        return written(question, *turns, golden=("Cincinnati",), id=id, step=step)

    search = ("First the director.", "Search: director of Jaws", "[1] Jaws: by Steven Spielberg, born in Cincinnati.")
    return [
        of("right", JAWS, search, ("So.", "Cincinnati"), step=1),
        of("spoilt", JAWS, ("Ask.", f"AnswerGenerate: {JAWS}", "Answer: Cincinnati"), ("Revise.", REVISE, "Answer: Boston"),
           ("So.", "Boston"), step=2),
        of("mute", JAWS, (None, "I cannot say"), step=2),
        written(JAWS, ("Look.", "Search: Jaws"), id="failed", step=3, stop_reason=StopReason.OPERATOR_FAILED, error="search is down"),
        of("other", Question(id="q9", text="Where is the Vatican?", golden_answers=("Rome",), metadata={"hops": 1}),
           ("So.", "Rome"), step=3),
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "r"
    directory.mkdir()
    append_indexed(directory / "trajectories.jsonl.gz", trajectories())
    return directory


def listed(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if " | " in line]


def test_a_line_each(call: Callable, run: Path) -> None:
    code, output, errors = call("show", "r")
    assert code == 0, errors
    assert output.splitlines()[1] == (
        "spoilt     2  wrong             0  AnswerGenerate > Revise  | Where was the director of Jaws born?"
    )
    assert listed(output) == ["right", "spoilt", "mute", "failed", "other"]
    assert output.endswith("5 of 5 selected, of 5 trajectories\n")
    assert listed(call("show", "r", "--limit", "2").stdout) == ["right", "spoilt"]
    assert listed(call("show", "r/trajectories.jsonl").stdout) == listed(output)


def test_two_questions_that_share_an_id_are_both_shown(call: Callable, tmp_path: Path) -> None:
    """A file put together from two benchmarks, which number their questions alike: the second took the first one's place."""
    asked = [Question(id="train_0", text=text, golden_answers=("Rome",)) for text in ("Where is A?", "Where is B?")]
    rows = [written(each, ("So.", "Rome"), id="train_0-0") for each in (*asked, asked[0])]
    append_indexed(tmp_path / "both.jsonl", rows)
    _, output, _ = call("show", "both.jsonl")
    assert [line.rpartition("| ")[2] for line in output.splitlines() if " | " in line] == ["Where is B?", "Where is A?"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["outcome=wrong,malformed"], ["spoilt", "mute"]),
        (["step=2"], ["spoilt", "mute"]),
        (["step=2-3", "outcome=right"], ["other"]),
        (["class=1 hops"], ["other"]),
        (["operator=Search"], ["right"]),
        (["question=q9"], ["other"]),
        (["question=VATICAN"], ["other"]),
        (["text=spielberg"], ["right"]),
        (["text=search is DOWN"], ["failed"]),
        (["effect=right_to_wrong"], ["spoilt"]),
        (["id=mute,right"], ["right", "mute"]),
    ],
)
def test_filters(call: Callable, run: Path, options: list[str], expected: list[str]) -> None:
    code, output, errors = call("show", "r", *options, "--json")
    assert code == 0, errors
    assert [json.loads(line)["id"] for line in output.splitlines()] == expected


def test_one_is_shown_whole_with_the_flow_of_its_data(call: Callable, run: Path) -> None:
    output = call("show", "r", "id=spoilt").stdout
    assert "spoilt, step 2" in output
    assert "  → Revise  <question>Where was the director of Jaws born?</question>" in output
    assert "    ← call-1-1: Cincinnati\n" in output
    assert "    the right answer became wrong\n" in output
    assert "    ← call-2-1: Boston\n" in output
    assert "Boston  ✗ wrong   reward 0" in output
    assert "search is down" in call("show", "r", "id=failed").stdout
    assert "I cannot say" in call("show", "r", "--full", "--limit", "3").stdout


def test_json_lines_are_those_of_the_file(call: Callable, run: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.jsonl").write_text(call("show", "r", "--json").stdout, encoding="utf-8")
    assert load_trajectories(tmp_path / "copy.jsonl") == load_trajectories(run / "trajectories.jsonl.gz")


def test_an_evaluation_by_method_and_benchmark(call: Callable, tmp_path: Path) -> None:
    for method in ("cot", "policy"):
        (tmp_path / "e" / "trajectories" / method).mkdir(parents=True)
        append_indexed(tmp_path / "e" / "trajectories" / method / "nq.jsonl.gz", trajectories()[:1])
    assert call("show", "e").stdout.splitlines()[0::2] == ["cot/nq", "policy/nq", "2 of 2 selected, of 2 trajectories"]
    assert "Cincinnati  ✓ right" in call("show", "e", "method=cot", "benchmark=nq").stdout
    code, _, errors = call("show", "e", "method=direct")
    assert (code, "it has cot/nq, policy/nq" in errors) == (2, True)


def test_what_cannot_be_read_is_said_in_one_line(call: Callable, run: Path) -> None:
    with (run / "plain.jsonl").open("w", encoding="utf-8") as file:
        file.write(call("show", "r", "--json").stdout + '{"schema_version": 99}\n{"schema_ver')
    output = call("show", run / "plain.jsonl").stdout
    assert "5 of 5 selected" in output
    assert "1 part cannot be read, the first: " in output
    assert "expected schema_version 1, found 99" in output


def test_text_from_outside_does_not_act_on_the_terminal(call: Callable, tmp_path: Path) -> None:
    append_indexed(tmp_path / "t.jsonl", [written("Who \x1b[31m[bold]?", ("So.", "Ann"), id="a", step=1)])
    for options in ((), ("--full",)):
        output = call("show", "t.jsonl", *options).stdout
        assert "\x1b" not in output
        assert "[bold]?" in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["r", "outcome=good"], "outcome: expected one of right, wrong"),
        (["r", "effect=good"], "effect: expected one of wrong_to_right"),
        (["r", "step=a"], "step: expected a number such as 3"),
        (["r", "step=3-1"], "step: expected a number such as 3"),
        (["r", "outcom=right"], "received 'outcom=right'; did you mean 'outcome'?"),
        (["r", "outcome"], "expected conditions key=value"),
        (["r", "step=1", "step=2"], "expected one condition on step, received '1' and '2'"),
        (["r", "method=cot"], "expected the directory of an evaluation with method="),
        (["."], "expected the directory of a run or an evaluation with trajectories, found nothing at"),
        (["nowhere"], "expected a file of trajectories, found nothing at nowhere"),
    ],
)
def test_mistakes(call: Callable, run: Path, arguments: list[str], expected: str) -> None:
    code, _, errors = call("show", *arguments)
    assert code == 2
    assert expected in errors


@pytest.mark.parametrize(
    ("prices", "cost"),
    [('currency = "EUR"', "cost 0.250000 EUR,"), ("", "cost 0.250000 USD,"), (None, "cost 0.250000,")],
)
def test_costs_are_in_the_currency_of_the_run(call: Callable, run: Path, prices: str | None, cost: str) -> None:
    if prices is not None:
        (run / "config.toml").write_text(f"[prices]\n{prices}\n", encoding="utf-8")
    answered = trajectories()[0]
    turn = answered.turns[0].model_copy(update={"usage": Usage(llm_calls=1, prompt_tokens=3, cost=0.25, paid=0.25)})
    append_indexed(
        run / "trajectories.jsonl.gz",
        [answered.model_copy(update={"id": "paid", "turns": (turn, *answered.turns[1:])})],
    )
    assert cost in call("show", "r", "id=paid").stdout
