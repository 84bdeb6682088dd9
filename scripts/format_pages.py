"""Give every sentence of the pages a line of its own, so that a change of one shows as a change of one.

``python scripts/format_pages.py`` rewrites the pages, with ``--check`` it names those that differ (exit code 1). Headings,
tables, code, quotes and HTML stay as they are; the site and GitHub show the same paragraphs as before.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES.remove(ROOT / "docs" / "reference" / "configuration.md")  # Its own script writes it.

WHOLE = re.compile(r"(`+).*?\1|!?\[[^\]]*\]\([^)]*\)|https?://\S+")
"""Full stops that end no sentence: those in code, links, addresses."""
NAMES = "vLLM|verl|slime|torch|xllamacpp|bm25s|peft"
"""Names in lower case that begin a sentence."""
ENDS = re.compile(rf"""(?<=[.!?])(?P<close>["')”*_]*) +(?=["'(“*_`\[]*(?:[A-Z0-9Σ\x00]|{NAMES}))""")
ABBREVIATIONS = re.compile(r"(?:\b(?:e\.g|i\.e|et al|cf|vs|Dr|Fig|No|resp|approx)|\b[A-Z])\.$")
ITEM = re.compile(r"^( *)([*-]|\d+\.) +")
OTHER = re.compile(r"^(#|\||>|<|!\[|```|---|:::)")
"""Lines that are no prose."""


def format_page(text: str) -> str:
    """Return the page with one sentence a line."""
    return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    fence = ""
    prose: list[str] = []
    for line in [*lines, None]:
        marker = re.match(r" *(`{3,}|~{3,})", line) if line is not None else None
        is_code = bool(fence) or marker is not None or (line is not None and line.startswith("    ") and not prose)
        starts = line is not None and (ITEM.match(line) is not None or OTHER.match(line.lstrip()) is not None)
        if prose and (line is None or not line.strip() or is_code or starts):
            yield from _sentences(prose)
            prose = []
        if line is None:
            return
        if marker is not None and (not fence or marker[1] == fence):
            fence = "" if fence else marker[1]
        if is_code or not line.strip() or OTHER.match(line.lstrip()):
            yield line
        else:
            prose.append(line)


def _sentences(lines: list[str]) -> Iterator[str]:
    item = ITEM.match(lines[0])
    first = item.group() if item else re.match(" *", lines[0]).group()  # type: ignore[union-attr]
    rest = " " * len(first)
    text = " ".join([lines[0][len(first) :].strip(), *(line.strip() for line in lines[1:])])
    kept: list[str] = []
    hidden = WHOLE.sub(lambda match: kept.append(match.group()) or "\x00", text)
    parts: list[str] = []
    start = 0
    for end in ENDS.finditer(hidden):
        if not ABBREVIATIONS.search(hidden[: end.start()]):
            parts.append(hidden[start : end.end("close")])
            start = end.end()
    parts.append(hidden[start:])
    found = iter(kept)
    for number, part in enumerate(parts):
        yield (first if number == 0 else rest) + re.sub("\x00", lambda _: next(found), part)


def main() -> int:
    """Rewrite or check all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 where a page would change")
    check = parser.parse_args().check
    changed = [
        page for page in PAGES if page.read_text(encoding="utf-8") != format_page(page.read_text(encoding="utf-8"))
    ]
    for page in changed:
        if check:
            print(f"{page.relative_to(ROOT)}: more or less than one sentence a line; make format mends it")
        else:
            page.write_text(format_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
