"""The page: one HTML file that holds its style and its programs, so that a server and a file on a disk show the same.

A browser loads no module of a page that stands on a disk (``file:`` is no origin), so the modules are put into one
program here: their imports from each other are left out, and each name stands once in all of them. Nothing is
translated or shortened: what is read in ``pages/`` is what runs.
"""

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

MODULES = (
    "dom.js", "data.js", "rows.js", "graph.js", "conversation.js", "list.js", "group.js", "curves.js", "atlas.js",
    "run.js", "compare.js", "app.js",
)  # fmt: skip
"""The programs, each after those that it imports."""

VENDORED = ("dagre.min.js", "uPlot.iife.min.js")
"""Other people's programs."""

STYLES = ("vendored/uPlot.min.css", "style.css")
"""Styles, in the order in which they are read."""

_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|let|class)", re.MULTILINE)


@cache
def _parts() -> tuple[str, list[str]]:
    folder = files(__package__) / "pages"
    style = "\n".join((folder / name).read_text(encoding="utf-8") for name in STYLES)
    programs = [(folder / "vendored" / name).read_text(encoding="utf-8") for name in VENDORED]
    programs.append(_join([(folder / name).read_text(encoding="utf-8") for name in MODULES]))
    return style, [_without_map(program) for program in programs]


def _join(modules: list[str]) -> str:
    own = "\n".join(_EXPORT.sub("", _IMPORT.sub("", module)) for module in modules)
    return f'"use strict";\n(() => {{\n{own}\n}})();\n'


def _without_map(program: str) -> str:
    return re.sub(r"^//# sourceMappingURL=.*$", "", program, flags=re.MULTILINE)


def content_policy(*, served: bool) -> str:
    """The content security policy of the page: it runs the programs in it and no others, and asks nobody but its server.

    The policy names the programs by their hashes. ``require-trusted-types-for`` has the browser refuse every use of
    text as HTML or as a program, whatever the text is.
    """
    style, programs = _parts()
    scripts = " ".join(_hash(program) for program in programs)
    asks = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(style)}; img-src data: blob:; connect-src {asks}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def write_page(title: str, data: Any = None) -> str:
    """Return the page.

    Args:
        title: title until the data are there.
        data: everything that it shows, where no server gives it.
    """
    style, programs = _parts()
    scripts = "\n".join(f"<script>{program}</script>" for program in programs)
    policy = content_policy(served=data is None)
    embedded = "" if data is None else f'<script type="application/json" id="data">{_as_json(data)}</script>\n'
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_escape(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header id="top"></header>
<main id="main" tabindex="-1"><p class="note">Loading</p></main>
<div id="said" role="status" aria-live="polite"></div>
<noscript><p>This page needs JavaScript: it runs only the programs in itself, and asks no other machine.</p></noscript>
{embedded}{scripts}
</body>
</html>
"""


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _as_json(data: Any) -> str:
    # Neither </script> nor <!-- may stand in it; a lone surrogate is escaped, which UTF-8 cannot hold.
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
