"""The blocks of commands that the pages print, and what a reader has in the folder where they run."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_r1.store import CallDatabase, StoredCall

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of ``bash``, ``sh`` or, on pages that are followed line by line, ``python``."""

    page: Path
    """Page of the block."""
    needs: str
    """Its title, such as ``needs a server``: then it cannot run here. Empty: it runs anywhere."""
    text: str
    """The commands as printed."""
    is_python: bool = False
    """True for Python, False for commands."""

    def commands(self) -> list[list[str]]:
        """Return the words of every command, comments, continuations, loops and variables in front aside."""
        if self.is_python:
            return []
        text = re.sub(r"for \w+ in [^;]+; do (.*?); done", r"\1", self.text.replace("\\\n", " "))
        lines = [shlex.split(line, comments=True) for line in text.splitlines()]
        return [
            line[next(i for i, word in enumerate(line) if not re.match(r"[A-Z_]+=", word)) :] for line in lines if line
        ]

    def workflow_r1_commands(self) -> list[list[str]]:
        """Return the arguments of every call of our own command."""
        return [words[1:] for words in self.commands() if words[0] == "workflow-r1"]


def blocks(page: Path) -> Iterator[Block]:
    """Read the blocks of commands of a page, in order; on a tutorial and the page of Python, the Python as well."""
    fences = re.compile(r'^( *)```(bash|sh|python)(?: title="([^"]*)")?\n(.*?)^\1```', flags=re.MULTILINE | re.DOTALL)
    is_followed = page.parent.name == "tutorials" or page.name == "python.md"
    for _, language, title, text in fences.findall(page.read_text(encoding="utf-8")):
        if language != "python":
            yield Block(page, title, text)
        elif is_followed and not NAMED.match(text):
            yield Block(page, title, text, is_python=True)


NAMED = re.compile(r"# [\w./]+\.\w+\n")
"""A first line such as ``# my.toml``: the block is the content of that file."""


def write_files_of_the_page(page: Path, folder: Path) -> None:
    """Write each block that begins with a comment such as ``# my.toml`` into that file, as a reader would."""
    text = page.read_text(encoding="utf-8")
    for name, content in re.findall(
        r"^```(?:toml|python|json)\n# ([\w./]+\.\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def write_reader_files(folder: Path) -> None:
    """Write small files by the names that the pages use for what a reader brings along."""
    preset = (ROOT / "src" / "workflow_r1" / "config" / "presets" / "embedded.toml").read_text(encoding="utf-8")
    for name in ("my.toml", "my-config.toml"):
        (folder / name).write_text(preset, encoding="utf-8")
    (folder / "my.json").write_text((ROOT / "examples" / "workflow_graph.json").read_text(encoding="utf-8"))
    questions = [
        {"id": f"q{i}", "question": f"Who directed film {i}?", "golden_answers": [f"Person {i}"]} for i in range(4)
    ]
    for name in ("questions.jsonl", "test.jsonl", "data/eval/bamboogle.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in questions), encoding="utf-8")
    (folder / "corpus.jsonl").write_text('{"id": "7", "title": "Jaws", "text": "A film."}\n', encoding="utf-8")
    database = CallDatabase(folder / "store" / "calls.sqlite3")
    database.put(StoredCall("1", "llm", "my-llm", "{}", '{"text": "yes"}', 1000.0), replace=False)
    database.close()
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    (folder / "faq.csv").write_text("query,reply\nHow often is it descaled?,monthly\n", encoding="utf-8")
