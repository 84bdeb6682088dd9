"""English of docstrings, comments and pages: noun phrases and whole sentences, subject first; a page names its reader."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import workflow_r1

PACKAGE = Path(workflow_r1.__file__).parent
ROOT = Path(__file__).parents[1]
FILES = sorted(
    [
        *PACKAGE.rglob("*.py"),
        *(file for folder in ("benchmarks", "examples", "scripts") for file in (ROOT / folder).rglob("*.py")),
    ]
)

_CLAUSES = r"(of|what|which|who|whom|whose|how|why|whether|told)"
AWKWARD = {
    "begins with a genitive or a headless clause": re.compile(rf"\s*{_CLAUSES}\b", re.IGNORECASE),
    "describes an argument by a genitive or a headless clause": re.compile(rf"\n +\*{{0,2}}\w+: {_CLAUSES}\b"),
    "says that somebody is told": re.compile(r"\b(is|are|was|were|be|being|been) told\b"),
    "says that something goes on": re.compile(r"\b(go|goes|going|gone|went) on\b"),
    "says that something is none": re.compile(r"\b(is|are|was|were|be) none\b"),
}

AWKWARD_COMMENT = re.compile(r"(Of|What|Which|Who|Whose|How|Why|Whether)\b")
SHELVES = ("tutorials", "how-to", "explanation", "reference")
READER = re.compile(r"\b(you|whoever|reader|read it)\b", re.IGNORECASE)


def docstrings(text: str) -> Iterator[tuple[str, str]]:
    """Yield each docstring with the name of what it describes: a module, a class, a function, or a name that is bound."""
    for node in ast.walk(ast.parse(text)):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else []
        for before, statement in zip([None, *body], body, strict=False):
            match statement:
                case ast.Expr(value=ast.Constant(value=str(docstring))) if before is None:
                    yield getattr(node, "name", "module"), docstring
                case ast.Expr(value=ast.Constant(value=str(docstring))):
                    yield ast.unparse(before).partition("=")[0].partition(":")[0].strip(), docstring


def awkward(text: str) -> list[str]:
    """Return a line for each docstring that does not read aloud."""
    return [
        f"{name} {fault}: {found.group().strip()!r}"
        for name, docstring in docstrings(text)
        for fault, pattern in AWKWARD.items()
        if (found := pattern.match(docstring) if "begins" in fault else pattern.search(docstring))
    ]


def comments(text: str) -> Iterator[str]:
    """Yield the first line of each comment: one that stands on a line of its own, or behind code."""
    last = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                yield token.string.lstrip("# ")
            last = token.start[0]


def awkward_comments(text: str) -> list[str]:
    """Return each comment that begins with a genitive or a headless clause; a question may."""
    return [
        comment for comment in comments(text) if AWKWARD_COMMENT.match(comment) and not comment.rstrip().endswith("?")
    ]


def first_sentences(page: Path) -> str:
    """Return the first two lines below the title of a page, which are its first two sentences."""
    _, _, text = page.read_text(encoding="utf-8").partition("\n")
    return " ".join(text.strip().splitlines()[:2])


def test_docstrings_read_aloud() -> None:
    assert len(FILES) > 300
    found = [
        f"{file.parent.name}/{file.name}: {line}"
        for file in FILES
        for line in awkward(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('"""What a run leaves."""', "module begins with"),
        ('class Run:\n    seed: int = 0\n    """Of the sampling."""', "seed begins with"),
        (
            'def run(seed):\n    """Run.\n\n    Args:\n        seed: of the sampling.\n    """',
            "run describes an argument",
        ),
        ('class Run:\n    def stop(self):\n        """Stop. The caller is told."""', "stop says that somebody is told"),
        ('LIMIT = 3\n"""Trials until the run goes on."""', "LIMIT says that something goes on"),
        ('async def ask():\n    """Return the answer; a thought is none."""', "ask says that something is none"),
    ],
)
def test_an_awkward_docstring_is_found_and_named(text: str, fault: str) -> None:
    (line,) = awkward(text)
    assert line.startswith(fault)


def test_other_texts_and_plain_docstrings_are_let_pass() -> None:
    assert not awkward('x = 1\n"""Offers; whatever he told us."""\nprint("what goes on")\ndef run():\n    "Run on."')


def test_comments_read_aloud() -> None:
    found = [
        f"{file.parent.name}/{file.name}: {line}"
        for file in FILES
        for line in awkward_comments(file.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_an_awkward_comment_is_found_by_its_first_line() -> None:
    text = (
        "x = 1  # Of the run.\n# What is left\n# of it.\n# Several lines,\ny = 2\n# Which one?\n# The rest\n# Of it.\n"
    )
    assert awkward_comments(text) == ["Of the run."]
    assert awkward_comments("x = 1\n\n# What is left\n# of it.\n") == ["What is left"]


@pytest.mark.parametrize("shelf", SHELVES)
def test_a_page_says_in_its_first_two_sentences_who_needs_it(shelf: str) -> None:
    pages = sorted((ROOT / "docs" / shelf).glob("*.md"))
    assert pages
    assert not [page.name for page in pages if not READER.search(first_sentences(page))]
