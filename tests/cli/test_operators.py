"""``workflow-r1 operators``: the operators, their sources, and one call of an operator."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workflow_r1.operators import OPERATORS

Call = Callable[..., object]

PLUGIN = """\
from typing import Literal

from workflow_r1.errors import ServiceUnavailableError
from workflow_r1.operators import operator


@operator(purpose="Measures a text.", timeout_seconds=5)
async def measure(text: str, unit: Literal["words", "letters"] = "words") -> str:
    '''Count, and say the unit.'''
    if text == "down":
        raise ServiceUnavailableError("the ruler is broken")
    return f"{len(text.split()) if unit == 'words' else len(text)} {unit}"
"""


@pytest.fixture
def plugin(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "mine.py").write_text(PLUGIN)
    return "-o", "plugins=['mine.py']"


def test_the_list_shows_every_operator_and_the_pool(call: Call, plugin: tuple[str, str]) -> None:
    code, output, errors = call("operators", *plugin, "-o", "environment.operators=['Measure', 'Search']")
    assert code == 0, errors
    assert all(made.purpose.split(".")[0][:60] in output for made in OPERATORS.values())
    assert "* Measure   plugin" in output
    assert "* Search   built-in; needs the search" in output
    assert "  Review   built-in; needs the LLM" in output


def test_the_list_as_json(call: Call, plugin: tuple[str, str]) -> None:
    rows = json.loads(call("operators", "--json", *plugin).stdout)
    assert rows["problems"] == []
    assert [row["name"] for row in rows["operators"]] == [*OPERATORS, "Measure"]
    measure = rows["operators"][-1]
    assert measure["needs"] == []
    assert measure["in_pool"] is False
    assert measure["place"].endswith("mine.py:7")
    assert measure["arguments"] == [
        {"name": "text", "expected": "a text", "list": False, "optional": False},
        {"name": "unit", "expected": "one of words, letters", "list": False, "optional": True},
    ]


def test_one_operator_in_detail(call: Call, plugin: tuple[str, str]) -> None:
    output = call("operators", "Measure", *plugin).stdout
    for part in ("Measures a text.", "Count, and say the unit.", "one of words, letters", "mine.py:7", "5 s"):
        assert part in output
    assert json.loads(call("operators", "Review", "--json").stdout)["needs"] == ["llm"]


def test_one_call(call: Call, plugin: tuple[str, str]) -> None:
    code, output, errors = call("operators", "Measure", *plugin, "--call", "<text>a b</text>")
    assert (code, errors) == (0, "")
    assert output.startswith("2 words\n")
    row = json.loads(call("operators", "Measure", *plugin, "--call", "a b", "--json").stdout)
    assert row["valid"] is False
    assert "Measure was not run" in row["observation"]
    assert row["usage"]["llm_calls"] == 0
    failed = call("operators", "Measure", *plugin, "--call", "<text>down</text>")
    assert (failed.returncode, failed.stderr) == (1, "error: a service failed: the ruler is broken\n")


def test_a_call_needs_only_what_the_operator_needs(call: Call) -> None:
    done = call("operators", "Search", "-o", "llm.kind=openai", "--call", "film", "--json")
    assert "[1]" in json.loads(done.stdout)["observation"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Serach"], "did you mean 'Search'?"),
        (["--call", "x"], "expected the NAME"),
        (["-o", "plugins=['absent.py']"], "expected a Python file, found nothing at"),
        (["Measure", "-o", "operators.Measure.x=1", "--call", "x", "-o", "plugins=['mine.py']"], "takes no settings"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_refusals(call: Call, arguments: list[str], message: str) -> None:
    done = call("operators", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_broken_entry_point_is_shown(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[workflow_r1.operators]\nbad = absent_package:x\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = call("operators")
    assert done.returncode == 0
    assert "left out: entry point bad of theirs 1.0 (absent_package:x)" in done.stdout
    refused = call("operators", "Missing")
    assert refused.returncode == 2
    assert "left out: entry point bad" in refused.stderr
    # A configuration that does not ask for it never meets it; one that does gets the reason of its absence.
    assert call("evaluate", "-m", "cot", "--limit", "1", "--output", "e").returncode == 0
    asked = call("evaluate", "-o", "environment.operators=['Missing']")
    assert "left out: entry point bad" in asked.stderr


def test_training_gives_a_plugin_to_the_policy(call: Call, plugin: tuple[str, str]) -> None:
    done = call(
        "rollout", "-m", "cot", "--limit", "1", *plugin, "--output", "t.jsonl",
        "-o", "environment.operators=['AnswerGenerate', 'Measure']", "-o", "environment.prompt_style=full",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    prompt = json.loads(Path("t.jsonl").read_text())["prompt"][0]["content"]
    assert (
        "- Measure: Measures a text.\n  <tool>Measure: <text>...</text> <unit>one of words, letters (default words)"
        in prompt
    )
