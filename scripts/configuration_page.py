"""Writes ``docs/reference/configuration.md`` from the configuration's own records: ``python scripts/configuration_page.py``."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from workflow_r1.config import RunConfig, preset_names
from workflow_r1.config.mistakes import describe
from workflow_r1.trajectory.records import Record

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"

INTRODUCTION = """\
# Configuration

This page lists every key of a configuration, for whoever looks one up.
One TOML file makes one validated run configuration.
`scripts/configuration_page.py` writes it from the records in `config/`, `embedded/config.py`, `environment/config.py`, `rollout/sampling.py` and `store/config.py`; a test fails where it differs from them.

```bash
workflow-r1 train                                   # the preset `embedded`
workflow-r1 train my.toml                           # a file; a key that it leaves out keeps its default
workflow-r1 train my.toml -o training.steps=5 -o optimiser.lora.rank=8
workflow-r1 evaluate runs/NAME-TIME                 # a run directory: its configuration and its trained policy
```

* Presets ({presets}) are files in [`config/presets/`](../../src/workflow_r1/config/presets).
* `extends = "embedded"`, at the top of a file, starts from that preset, or from another TOML file, named relative to this one.
  A key of the file takes the place of the inherited one; a section is laid over key by key, a list as a whole.
  An inherited key that loses its effect by what the file says is left out.
* `-o section.key=value` sets one key and may be repeated; the last one wins.
  The value is read as TOML; anything that is not TOML is a bare string.
  An empty value returns the key to its default.
* A misspelt key is refused with the nearest right one, a wrong value with the expected one; both with their line.
* A key without effect, since it belongs to a source or kind that is not chosen, is refused with what to set
  ([which, and why](../decisions/keys-without-effect.md)).
* Relative paths are relative to the working directory, except those of files with code (`plugins`, `task`, `reward.weights`, `search.callable`), which are relative to the TOML file.
  Keys of services stand in environment variables, never in a file.
* The resolved configuration of a run, defaults included, is `config.toml` in its directory.
* Defaults are the paper's values (arXiv:2602.01202) where it states them.
  The quickstart's values are those of the preset `embedded`.

`prices.models` holds a section for each name that it prices, in quotes where the name has dots (`-o`, too, takes quotes).
`optimiser.lora` is a section of its own: present, even with no key, it trains adapters; absent, all weights.
"""


def render() -> str:
    """Return the whole page."""
    presets = ", ".join(f"`{name}`" for name in preset_names())
    return "\n".join([INTRODUCTION.format(presets=presets), *_sections(RunConfig, "")])


def _sections(model: type[BaseModel], name: str) -> Iterator[str]:
    docs = _attribute_docs(model)
    rows = []
    inner: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        section = _section_of(field.annotation)
        if section is not None:
            place = f"{name}.{key}" if name else key
            inner.append((f"{place}.NAME" if get_origin(field.annotation) is dict else place, section))
            continue
        default = "" if field.default is PydanticUndefined else _show(field.default)
        rows.append(f"| `{key}` | {_escape(_kind(field))} | {default} | {_escape(docs.get(key, ''))} |")
    title = f"## `[{name}]`" if name else "## At the top of the file"
    about = inspect.getdoc(model) or ""
    yield f"{title}\n\n{about if name else 'Before the first section.'}\n"
    if rows:
        yield "\n".join(["| key | takes | default | meaning |", "|---|---|---|---|", *rows]) + "\n"
    for key, section in inner:
        yield from _sections(section, key)


def _kind(field: Any) -> str:
    words_of = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    limits = [
        f"{words} {getattr(limit, name)}"
        for limit in field.metadata
        for name, words in words_of.items()
        if getattr(limit, name, None) is not None
    ]
    words = describe(field.annotation).removesuffix(" or nothing")
    return ", ".join([words, *limits])


def _section_of(annotation: Any) -> type[BaseModel] | None:
    options = (annotation, *get_args(annotation))
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstring that stands under each field, inherited ones included."""
    docs = {}
    for parent in reversed(model.__mro__[: model.__mro__.index(Record)]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(parent))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                docs[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split()).replace("``", "`")
    return docs


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' if isinstance(item, str) else str(item) for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
