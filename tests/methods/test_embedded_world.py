"""Every method over the embedded world, opened as the commands open it."""

import asyncio
import re
from pathlib import Path

import pytest

from workflow_r1.config import RunConfig
from workflow_r1.errors import ConfigError
from workflow_r1.evaluation import EvaluationResult, evaluate
from workflow_r1.methods import METHODS, find_method
from workflow_r1.running.compared import read_methods
from workflow_r1.running.parts import held_out_questions
from workflow_r1.running.policies import open_method

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "methods.md"
TABLE = PAGE.read_text(encoding="utf-8").partition("\n## The table\n")[2].partition("\n## ")[0]
ROWS = dict(re.findall(r"^\| `([\w+-]+)` \| ([^|]+?) \|", TABLE, re.MULTILINE))
"""Method -> what the page says of its calls."""

OTHERS = ("graph", "aflow", "maas")
"""Tested where they are made."""

FIXED = [name for name in METHODS if name.removesuffix("+search") not in OTHERS]
NUM_QUESTIONS = 40
CONFIG = RunConfig()


def evaluate_embedded(name: str, directory: Path) -> EvaluationResult:
    questions = held_out_questions(CONFIG, NUM_QUESTIONS)

    async def run() -> EvaluationResult:
        async with open_method(CONFIG, name, temperature=0.0, questions=questions, directory=directory) as opened:
            if opened.search is not None:
                await opened.search()
            return await evaluate(questions, policy=opened.policy, make_environment=opened.make_environment)

    return asyncio.run(run())


def test_the_page_has_a_row_for_every_method_and_no_other() -> None:
    assert {name.removesuffix("+search") for name in FIXED} <= set(ROWS)
    assert set(ROWS) <= {*METHODS, *OTHERS}


@pytest.mark.parametrize("name", FIXED)
def test_every_method_answers_with_as_many_calls_as_the_page_says(name: str, tmp_path: Path) -> None:
    result = evaluate_embedded(name, tmp_path)
    calls = {t.usage.llm_calls + t.policy_usage.llm_calls for t in result.trajectories}
    least, _, most = (ROWS.get(name) or ROWS[name.removesuffix("+search")]).partition("-")
    assert all(int(least) <= number <= int(most or least) for number in calls), calls
    assert (result.figures.num_failed, result.figures.exact_match.total) == (0, NUM_QUESTIONS)
    assert result.figures.answered.rate == 1
    searches = {t.usage.searches > 0 for t in result.trajectories}
    assert (True in searches) == name.endswith("+search")
    assert all(call.valid for t in result.trajectories for turn in t.turns for call in turn.calls)


def test_methods_are_in_their_order(tmp_path: Path) -> None:
    reached = {
        name: evaluate_embedded(name, tmp_path).figures.exact_match.successes
        for name in ("random", "cot", "oracle-choice", "oracle-script+search")
    }
    assert list(reached.values()) == sorted(reached.values())
    assert len(set(reached.values())) == 4


def test_the_method_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "my_method.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    own = evaluate_embedded("my_method.py:ASK_TWICE", tmp_path).figures
    assert own.llm_calls == 3
    assert own.exact_match.successes > evaluate_embedded("direct", tmp_path).figures.exact_match.successes
    (compared,) = read_methods(CONFIG, ["my_method.py:ASK_TWICE"], seeds=[0])
    assert (compared.name, compared.describe(0.0)["summary"]) == ("ask-twice", "asks, and asks again with a plan")


@pytest.mark.parametrize("name", ["my_method.py:ask_twice", "my_method.py:NOTHING", "nowhere.py:X", "cots"])
def test_what_is_no_method_is_said_to_be_none(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_method.py").write_text("def ask_twice(question, rng): ...")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--methods: expected"):
        find_method(name, key="--methods")
