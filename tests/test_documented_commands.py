"""Every command that the pages print: it exists, its options and keys exist, and it runs wherever nothing but this machine is needed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from documented_commands import PAGES, ROOT, blocks, write_files_of_the_page, write_reader_files
from pydantic import BaseModel

from workflow_r1.config import RunConfig

WITH_BLOCKS = [page for page in PAGES if any(True for _ in blocks(page))]
NEEDS = {
    "needs a GPU and vLLM", "needs a server", "needs GPUs", "needs TRL", "needs a real model", "needs the checkout", "needs the downloaded files", "needs the fetched benchmarks",
    "needs the network", "needs the server above", "needs verl and GPUs", "needs your services", "runs until Ctrl-C",
    "takes hours", "takes minutes", "needs a run", "needs a second machine",
}  # fmt: skip
"""Reasons why a block cannot run in a test. A new reason is added here."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_commands_options_and_keys_exist(page: Path) -> None:
    import typer

    from workflow_r1.cli import app

    root: Any = typer.main.get_command(app)
    for block in blocks(page):
        assert not block.needs or block.needs in NEEDS
        for words in block.workflow_r1_commands():
            command, names = root, list(words)
            while names and names[0] in getattr(command, "commands", {}):
                command = command.commands[names.pop(0)]
            assert command is not root, f"{name_of(page)}: no such command: workflow-r1 {' '.join(words)}"
            if "--help" not in names:
                context = command.make_context(command.name, names)
                for key in (each.partition("=")[0] for each in context.params.get("override") or ()):
                    assert _is_key(RunConfig, key.split(".")), f"{name_of(page)}: no such key: -o {key}"


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_what_is_installed_made_and_started_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    extras = set(
        re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    for words in (words for block in blocks(page) for words in block.commands()):
        if words[0] == "make":
            assert words[1] in targets
        if words[:2] == ["pip", "install"]:
            asked = re.search(r"\[([\w,]+)\]", " ".join(words))
            assert asked is None or set(asked[1].split(",")) <= extras
        if words[0].endswith("python") and words[1] != "-m":
            assert (ROOT / words[1]).is_file()


def test_a_wrong_key_is_seen() -> None:
    assert _is_key(RunConfig, ["optimiser", "lora", "rank"])
    assert _is_key(RunConfig, ["prices", "models", "any.name", "prompt_per_million"])
    assert not _is_key(RunConfig, ["optimiser", "lora", "rnak"])
    assert not _is_key(RunConfig, ["optimizer"])


@pytest.mark.slow
def test_the_first_commands_for_operators_of_ones_own_run(tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "own-operators.md"
    write_files_of_the_page(page, tmp_path)
    _run(tmp_path, next(blocks(page)).text)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name_of)
def test_commands_run(page: Path, reader_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(reader_folder, folder)
    _run_page(page, folder)


@pytest.fixture(scope="module")
def reader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a reader after the first commands of the README: a run, an evaluation, files of their own."""
    folder = tmp_path_factory.mktemp("reader")
    write_reader_files(folder)
    evaluation = "workflow-r1 evaluate -m direct,cot -b embedded --output runs/"
    _run(folder, "workflow-r1 train --output runs/NAME-TIME")
    _run(folder, "\n".join(f"{evaluation}{name}" for name in ("one", "other")))
    return folder


def _run_page(page: Path, folder: Path) -> None:
    write_files_of_the_page(page, folder)
    for block in blocks(page):
        if not block.needs:
            _run(folder, f"python - <<'END'\n{block.text}END" if block.is_python else block.text)


def _run(folder: Path, commands: str) -> None:
    """Run a block in a shell, in which our command does the same on few questions, and nothing is installed or made."""
    shell = folder / ".shell"
    shell.mkdir(exist_ok=True)
    for name, text in {
        "workflow-r1": f"#!{sys.executable}\n{SMALL}",
        "pip": "#!/bin/sh\n",
        "make": "#!/bin/sh\n",
    }.items():
        (shell / name).write_text(text, encoding="utf-8")
        (shell / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": f"{shell}:{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        input="y\n",
        timeout=900,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


SMALL = """
import sys

from workflow_r1.cli import main

words = " ".join(sys.argv[1:])
small = ["policy.threads=1"]
if sys.argv[1] == "train":
    small += [
        "training.steps=1", "training.questions_per_step=2", "training.mini_batch_questions=1", "training.group_size=2",
        "training.evaluation_questions=2",
    ]
if sys.argv[1] in ("evaluate", "rollout"):
    sys.argv += ["--limit", "2"]
if "aflow" in words:
    small += ["methods.aflow.rounds=1", "methods.aflow.questions=2"]
if "maas" in words:
    small += ["methods.maas.questions=4", "methods.maas.passes=1"]
if sys.argv[1] in ("train", "evaluate", "rollout", "ask") and "--resume" not in sys.argv:
    sys.argv += [word for key in small for word in ("-o", key)]
main()
"""


def _is_key(section: type[BaseModel], names: list[str]) -> bool:
    """Return True where a dotted key leads to a field; a section by name takes any name there."""
    field = section.model_fields.get(names[0])
    if field is None or len(names) == 1:
        return field is not None
    inner = [each for each in _types(field.annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    rest = names[1:]
    if any(get_origin(each) is dict for each in (field.annotation, *get_args(field.annotation))):
        rest = rest[1:]
        return not rest or not inner or any(_is_key(each, rest) for each in inner)
    return any(_is_key(each, rest) for each in inner)


def _types(annotation: Any) -> list[Any]:
    return [annotation, *(each for argument in get_args(annotation) for each in _types(argument))]
