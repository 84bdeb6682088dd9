"""``docs/reference/operators.md`` says what the code does."""

import asyncio
import re
import sys
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from workflow_r1.inference import ScriptedChatModel
from workflow_r1.operators import OPERATORS, Argument, OperatorConfig, OperatorServices

PAGE_PATH = Path(__file__).parents[2] / "docs" / "reference" / "operators.md"
PAGE = PAGE_PATH.read_text(encoding="utf-8")


def test_the_table_is_the_pool() -> None:
    rows = [f"| `{name}` | {made.purpose} | `{made.usage}` |" for name, made in OPERATORS.items()]
    table = "\n".join(["| operator | purpose | written as |", "|---|---|---|", *rows])
    assert table in PAGE, f"docs/reference/operators.md should hold this table:\n{table}"


def test_the_settings_are_the_defaults() -> None:
    stated = {
        name: float(value)
        for name, value in re.findall(r"`(\w+)` ([0-9.]+[0-9]|[0-9])\b", PAGE.split("## Settings")[1])
    }
    defaults = {name: field.default for name, field in OperatorConfig.model_fields.items()}
    assert stated == {name: float(value) for name, value in defaults.items() if value is not None}


def test_the_example_works() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "docs/reference/operators.md", "exec"), names)
    translate = names["pool"]["Translate"]
    assert f"`{translate.usage}`" in PAGE
    chat = ScriptedChatModel(["<translation>Hallo</translation>"])
    result = asyncio.run(translate("<text>Hello</text> <language>German</language>", OperatorServices(chat=chat)))
    assert result.observation == "Hallo"


def test_the_page_of_own_operators_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PAGE_PATH.parents[1] / "how-to" / "own-operators.md").read_text(encoding="utf-8")
    first, api, test = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my_operators.py").write_text(first)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(test, "own-operators.md", "exec"), names)
    del sys.modules["my_operators"]
    refused = asyncio.run(names["days_between"]("<start>x</start><end>2024-01-01</end>", OperatorServices()))
    assert refused.observation[:100] in page
    exec(compile(api, "own-operators.md", "exec"), names)
    assert names["weather"].settings_type is names["WeatherSettings"]
    assert names["weather"].settings is None


def test_the_types_of_the_page_are_described_as_it_says() -> None:
    page = (PAGE_PATH.parents[1] / "how-to" / "own-operators.md").read_text(encoding="utf-8")
    for annotation in (int, float, bool, Literal["north", "south"], date, time, Annotated[int, Field(ge=1, le=9)]):
        assert f"`{Argument('x', is_list=False, type=annotation).expected}`" in page
