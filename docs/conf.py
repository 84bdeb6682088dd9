"""Sphinx builds the site from these pages: ``make docs``. Why Sphinx: ``docs/decisions/documentation-site.md``."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import reference_pages  # noqa: E402

import workflow_r1  # noqa: E402

project = "Workflow-R1"
version = release = workflow_r1.__version__
author = "the authors of Workflow-R1"
copyright = ""
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["conf.py"]
myst_heading_anchors = 4
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "Workflow-R1"
html_show_copyright = False
html_copy_source = False
html_show_sphinx = False

MADE = {
    "reference/commands": reference_pages.commands_page,
    "reference/python": reference_pages.python_page,
    "reference/records": reference_pages.records_page,
}
"""Pages that hold the mark ``<!-- made from the code -->``, and what stands there on the site."""


def setup(app: Sphinx) -> None:
    """Connect the steps below."""
    app.add_html_math_renderer("mathml", (write_inline_math, None), (write_math_block, None))
    app.connect("source-read", make_reference)
    app.connect("source-read", show_titles)
    app.connect("doctree-read", link_to_files)
    app.connect("missing-reference", link_to_public_names)
    app.connect("autodoc-process-docstring", read_google_style)
    app.connect("html-collect-pages", file_pages)
    app.connect("build-finished", refuse_requests_elsewhere)


def make_reference(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is made from the code where a page marks the place."""
    if page in MADE:
        before, mark, after = source[0].partition("<!-- made from the code -->")
        assert mark, f"{page}.md lacks the mark"
        source[0] = before + MADE[page]() + after


def show_titles(app: Sphinx, page: str, source: list[str]) -> None:
    """Show the title of a block of commands, e.g. what it needs; GitHub leaves it out."""
    source[0] = re.sub(
        r'^( *)```(\w+) title="([^"]+)"$', r"\1```{code-block} \2\n\1:caption: \3\n", source[0], flags=re.M
    )


def link_to_files(app: Sphinx, doctree: nodes.document) -> None:
    """Let a link that leaves ``docs/`` lead to a page that shows the file, as the same link does on GitHub."""
    page = app.env.docname
    for node in list(
        doctree.findall(lambda each: each.get("reftype") == "myst" if isinstance(each, nodes.Element) else False)
    ):
        path = normpath(join("docs", dirname(page), node["reftarget"]))
        if not path.startswith("docs/") and (ROOT / path).exists():
            address = app.builder.get_relative_uri(page, f"files/{path}")
            node.replace_self(nodes.reference("", "", *node.children, refuri=address, internal=True))


def link_to_public_names(app: Sphinx, env: Any, node: Any, content: Any) -> nodes.reference | None:
    """Let a type in a signature lead to where it is exported from."""
    if node.get("refdomain") != "py":
        return None
    place = reference_pages.public_names().get(node["reftarget"])
    domain = env.get_domain("py")
    entry = domain.objects.get(place)
    if entry is None:
        return None
    address = f"{app.builder.get_relative_uri(node['refdoc'], entry.docname)}#{entry.node_id}"
    return nodes.reference("", "", content, refuri=address, internal=True)


def read_google_style(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Read the sections of a docstring; under an attribute stands prose, whose colon does not part a type from it."""
    if what not in ("attribute", "property", "data"):
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, value, options).lines()


def write_inline_math(writer: Any, node: nodes.math) -> None:
    """Write a formula as MathML, which browsers know, instead of asking another site for a script."""
    writer.body.append(mathml(node.astext(), is_block=False))
    raise nodes.SkipNode


def write_math_block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula that stands by itself."""
    writer.body.append(f"<p>{mathml(node.astext(), is_block=True)}</p>")
    raise nodes.SkipNode


def mathml(formula: str, *, is_block: bool) -> str:
    """Translate TeX; brackets grow with their content in MathML, and the translator knows no command for it."""
    return tex2mathml(re.sub(r"\\[bB]igg?[lr]?(?![a-zA-Z])", "", formula), as_block=is_block)


def refuse_requests_elsewhere(app: Sphinx, error: Exception | None) -> None:
    """Fail where a page would load anything from another place: the site has to open from a file, without a network."""
    loads = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*\shref="(?:https?:)?//|@import'
    )
    for page in () if error else Path(app.outdir).rglob("*.html"):
        if found := loads.search(page.read_text(encoding="utf-8")):
            raise ExtensionError(f"{page} asks another place: {found.group()}")


def file_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each file and folder of the repository that some page links to, and for the files in such a folder."""
    paths = {
        normpath(join(page.parent.relative_to(ROOT).as_posix(), target))
        for page in (ROOT / "docs").rglob("*.md")
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    }
    paths = {path for path in paths if not path.startswith("docs/") and (ROOT / path).exists()}
    for folder in [path for path in paths if (ROOT / path).is_dir()]:
        paths |= {each.relative_to(ROOT).as_posix() for each in (ROOT / folder).iterdir() if each.is_file()}
    for path in sorted(paths):
        body = _listing(app, path) if (ROOT / path).is_dir() else _text_of(path)
        yield f"files/{path}", {"title": path, "body": f"<h1>{path}</h1>\n{body}", "parents": []}, "page.html"


def _listing(app: Sphinx, folder: str) -> str:
    names = sorted(each.name for each in (ROOT / folder).iterdir() if each.is_file())
    address = app.builder.get_relative_uri
    links = [f'<li><a href="{address(f"files/{folder}", f"files/{folder}/{name}")}">{name}</a></li>' for name in names]
    return "<ul>\n" + "\n".join(links) + "\n</ul>"


def _text_of(path: str) -> str:
    try:
        lexer = get_lexer_for_filename(path)
    except ClassNotFound:
        lexer = TextLexer()
    text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
    return highlight(text, lexer, HtmlFormatter())
