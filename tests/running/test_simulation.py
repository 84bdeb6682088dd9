"""Marks of a simulation, and notes on questions that the embedded world knows nothing of."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.config import RunConfig, load_run_config
from workflow_r1.embedded.world import EmbeddedWorld
from workflow_r1.running.run_directory import make_run_directory
from workflow_r1.running.simulation import is_simulated, notes_on

REAL = {"llm": {"kind": "openai", "model": "m"}, "search": {"kind": "bm25", "index": "i"}}
PLUGIN = """from workflow_r1.operators import operator


@operator(purpose="Counts.")
async def Count(text: str) -> str:
    return str(len(text))
"""


def config(**fields: object) -> RunConfig:
    return RunConfig.model_validate({"data": {"source": "files"}} | fields)


def test_questions_of_ones_own_are_no_simulation_where_the_services_are_real() -> None:
    left_at_its_default = config(data={"source": "embedded"}, **REAL)
    assert is_simulated(left_at_its_default)
    assert not is_simulated(left_at_its_default, own_questions=True)
    assert is_simulated(RunConfig(), own_questions=True)


def test_every_method_is_judged_by_its_own_pool() -> None:
    searches = config(environment={"operators": ("Search",)}, search={"kind": "bm25", "index": "i"})
    assert not is_simulated(searches)
    assert is_simulated(searches, "cot")  # It asks the LLM, which is the embedded expert.


def test_an_operator_of_ones_own_counts_by_what_it_needs_and_a_report_reads_that(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    counts = config(plugins=(str(tmp_path / "mine.py"),), environment={"operators": ("Count",)})
    assert counts.is_simulation  # By the configuration alone it may be one.
    assert not is_simulated(counts)
    made = make_run_directory(counts, tmp_path / "run")
    assert json.loads((made / "environment.json").read_text())["simulation"] is False

    from workflow_r1.reports.run_record import RunRecord

    environment = json.loads((made / "environment.json").read_text())
    record = RunRecord(directory=made, config=counts, environment=environment, metrics=[], evaluations=[], services=[])
    assert (record.is_simulation, record.title) == (False, "embedded")
    older = RunRecord(directory=made, config=counts, environment={}, metrics=[], evaluations=[], services=[])
    assert older.is_simulation


@pytest.mark.parametrize(
    "question",
    [
        "Who directed Jaws?",
        "\u05de\u05d9 \u05db\u05ea\u05d1 \u05d0\u05ea \u05d6\u05d4?",
        "\u8ab0\u304c?",
        "Why?",
        "12 + 7",
    ],
)
def test_a_question_that_names_nothing_of_the_world_gets_a_note(question: str) -> None:
    (note,) = notes_on(load_run_config("embedded"), question)
    assert "the answer is invented" in note


def test_a_name_of_the_world_is_found_in_any_case_and_form() -> None:
    name = next(iter(EmbeddedWorld(0).entities))
    for question in (f"Who directed {name}?", f"who is {name.lower()}'s spouse?", f"\u05de\u05d9 {name}?"):
        assert notes_on(load_run_config("embedded"), question) == ()
    other = next(name for name in EmbeddedWorld(1).entities if name not in EmbeddedWorld(0).entities)
    assert notes_on(RunConfig(), f"Who directed {other}?")


def test_what_is_not_embedded_gets_no_note() -> None:
    real = config(policy={"model": "m", "base_url": "http://127.0.0.1:1"}, **REAL)
    assert notes_on(real, "Who directed Jaws?") == ()
    embedded_policy = config(**REAL)
    assert notes_on(embedded_policy, "Who directed Jaws?")
    assert notes_on(embedded_policy, "Who directed Jaws?", "cot") == ()


def test_ask_says_so_and_does_not_repeat_a_long_question_whole(call: Callable) -> None:
    done = call("ask", "Who directed " + "x" * 50_000, "-m", "cot", "--no-save")
    assert done.returncode == 0
    assert "names nothing of the embedded world" in done.stderr
    assert "characters left out" in done.stdout
    assert done.stdout.count("x") < 6_000
