"""``docs/operators.md`` says what the code does."""

import asyncio
import re
from pathlib import Path
from typing import Any

from workflow_r1.inference import ScriptedChatModel
from workflow_r1.operators import OPERATORS, OperatorConfig, OperatorServices

PAGE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")


def test_the_table_is_the_pool() -> None:
    rows = [f"| `{name}` | {made.purpose} | `{made.usage}` |" for name, made in OPERATORS.items()]
    table = "\n".join(["| operator | purpose | written as |", "|---|---|---|", *rows])
    assert table in PAGE, f"docs/operators.md should hold this table:\n{table}"


def test_the_settings_are_the_defaults() -> None:
    stated = {
        name: float(value)
        for name, value in re.findall(r"`(\w+)` ([0-9.]+[0-9]|[0-9])\b", PAGE.split("## Settings")[1])
    }
    assert stated == {name: float(field.default) for name, field in OperatorConfig.model_fields.items()}


def test_the_example_works() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "docs/operators.md", "exec"), names)
    translate = names["pool"]["Translate"]
    assert f"`{translate.usage}`" in PAGE
    chat = ScriptedChatModel(["<translation>Hallo</translation>"])
    result = asyncio.run(translate("<text>Hello</text> <language>German</language>", OperatorServices(chat=chat)))
    assert result.observation == "Hallo"
