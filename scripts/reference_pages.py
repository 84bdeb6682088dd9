"""Reference pages as Markdown, made from the definitions themselves, so that they cannot lag: commands and Python.

The site asks for them while it is built (``docs/conf.py``): the page of the commands from what ``--help`` prints, the
pages of Python from ``__all__`` and the docstrings.
"""

import ast
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import workflow_r1

PACKAGE = Path(workflow_r1.__file__).parent
NOT_FOR_IMPORT = {"cli"}
"""Packages whose ``__all__`` is no library: the command line has a page of its own."""
WORDS = {"str": "text", "int": "number", "int range": "number", "float": "number", "float range": "number"}
"""Names of the types of options."""


def commands_page() -> str:
    """Return every command with its arguments and options, one heading each."""
    import typer

    from workflow_r1.cli import app

    return "\n".join(_command_sections(typer.main.get_command(app), "workflow-r1", level=2))


def _command_sections(command: Any, name: str, *, level: int) -> Iterator[str]:
    for child in getattr(command, "commands", {}).values():
        yield f"{'#' * level} `{name} {child.name}`\n\n{_paragraphs(child.help or '')}\n"
        if not getattr(child, "commands", None):
            yield from _parameters(child, f"{name} {child.name}")
        yield from _command_sections(child, f"{name} {child.name}", level=level + 1)


def _parameters(command: Any, name: str) -> Iterator[str]:
    context = command.context_class(command)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = " ".join([name, *(piece for each in arguments for piece in each.get_usage_pieces(context)), "[OPTIONS]"])
    yield f"```text\n{usage}\n```\n"
    rows = [
        (f"`{each.display_name_raw}`" if each in arguments else ", ".join(f"`{word}`" for word in each.opts), each)
        for each in (*arguments, *options)
    ]
    if rows:
        yield "| option | takes | meaning |\n|---|---|---|"
        for words, each in rows:
            takes = "" if getattr(each, "is_flag", False) else each.display_type_rich(context).strip("<>")
            yield f"| {words} | {_escape(WORDS.get(takes, takes))} | {_escape(_meaning(each))} |"
        yield ""


def _meaning(parameter: Any) -> str:
    words = " ".join((getattr(parameter, "help", None) or "").split())
    default = parameter.default
    if not parameter.show_default or isinstance(default, bool | None) or callable(default):
        return words
    return f"{words} Default: `{default}`."


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.replace("\f", "").split("\n\n"))


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def public_packages() -> list[str]:
    """Return the names of the packages that one may import from: those with an ``__all__``, in the order of the alphabet."""
    names = [each.name for each in pkgutil.iter_modules([str(PACKAGE)])]
    return [name for name in names if name not in NOT_FOR_IMPORT and _exported(f"workflow_r1.{name}")]


def python_page() -> str:
    """Return the top of the package, then every public package, each with its exports."""
    top = ["## `workflow_r1`\n", _documented("workflow_r1"), _results()] if _exported("workflow_r1") else []
    return "\n".join([*top, *(part for name in public_packages() if name != "trajectory" for part in _package(name))])


def records_page() -> str:
    """Return the exports of ``workflow_r1.trajectory``."""
    return _documented("workflow_r1.trajectory")


def public_names() -> dict[str, str]:
    """Return where each exported object is documented, by the full name of its definition."""
    places: dict[str, str] = {}
    for module_name in ("workflow_r1", *(f"workflow_r1.{name}" for name in public_packages())):
        module = importlib.import_module(module_name)
        for name in _exported(module_name):
            value = getattr(module, name)
            if isinstance(value, type) or callable(value):
                places.setdefault(f"{value.__module__}.{getattr(value, '__qualname__', name)}", f"{module_name}.{name}")
    return places


def _results() -> str:
    """Return the records that the functions at the top return, which stand in modules that nobody imports from."""
    results: dict[str, str] = {}
    for name in _exported("workflow_r1"):
        function = getattr(workflow_r1, name)
        for word in re.findall(r"\w+", str(inspect.signature(function).return_annotation)):
            value = getattr(_module_of(word), word, None) if _module_of(word) else None
            if isinstance(value, type):
                results[f"{value.__module__}.{word}"] = f".. autoclass:: {value.__module__}.{word}\n   :members:\n"
    return "\n".join(["```{eval-rst}", *results.values(), "```\n"]) if results else ""


def _module_of(name: str) -> ModuleType | None:
    """Return the module of ``running`` that defines a class of this name."""
    for file in (PACKAGE / "running").glob("*.py"):
        if re.search(rf"^class {name}\b", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            return importlib.import_module(f"workflow_r1.running.{file.stem}")
    return None


def _exported(module_name: str) -> list[str]:
    module = sys.modules.get(module_name) or importlib.import_module(module_name)
    return [name for name in getattr(module, "__all__", ()) if not name.startswith("__")]


def _package(name: str) -> Iterator[str]:
    yield f"## `workflow_r1.{name}`\n"
    yield _documented(f"workflow_r1.{name}")


def _documented(module_name: str) -> str:
    module = importlib.import_module(module_name)
    about = f".. automodule:: {module_name}\n   :no-members:\n"
    return "\n".join(["```{eval-rst}", about, *_entries(module, module_name), "```\n"])


def _entries(module: ModuleType, module_name: str) -> Iterator[str]:
    for name in _exported(module_name):
        value = getattr(module, name)
        if isinstance(value, type):
            yield f".. autoclass:: {module_name}.{name}\n   :members:\n"
        elif callable(value) and hasattr(value, "__code__"):
            yield f".. autofunction:: {module_name}.{name}\n"
        elif isinstance(value, ModuleType):
            continue
        else:
            yield f".. py:data:: {module_name}.{name}\n   :no-index-entry:\n\n   {_attribute_doc(module, name)}\n"


def _attribute_doc(module: ModuleType, name: str) -> str:
    """Return the string that stands under a constant where it is defined."""
    for source in (
        module,
        *(sys.modules[each] for each in sorted(sys.modules) if each.startswith(f"{module.__name__}.")),
    ):
        if source.__file__ is None or name not in vars(source):
            continue
        body = ast.parse(Path(source.__file__).read_text(encoding="utf-8")).body
        for definition, below in itertools.pairwise(body):
            targets = getattr(definition, "targets", None) or [getattr(definition, "target", None)]
            if any(isinstance(each, ast.Name) and each.id == name for each in targets) and isinstance(below, ast.Expr):
                return " ".join(str(ast.literal_eval(below.value)).split())
    return ""
