"""A document as one HTML file: nothing is loaded, nothing runs; light and dark, a screen of any width, paper."""

from collections.abc import Iterator
from html import escape

from workflow_r1.printable import printable
from workflow_r1.reports.evaluation.blocks import Block, Document, Grid, Paragraph, Pictures, Points, Section
from workflow_r1.reports.evaluation.pictures import COLOURS, DARK, panel_svg, variables

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Content policy of the page: even through a hole in the escaping, the browser would load and run nothing."""

LONG = 30
"""Rows from which on a table is folded up."""

_STYLE = """
:root{color-scheme:light dark;LIGHT}
@media (prefers-color-scheme:dark){:root{DARK}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif}
main,header,nav{max-width:76rem;margin:0 auto;padding:0 clamp(1rem,3vw,2rem)}
header{padding-top:1.5rem}
h1{font-size:1.7rem;line-height:1.25;margin:.2rem 0 .8rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.6rem 0 .6rem;padding-top:.6rem;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
p,li{max-width:48rem;overflow-wrap:anywhere}
a{color:var(--accent)}
.note{color:var(--muted);font-size:.92rem}
.simulation{border:2px solid currentColor;border-radius:.4rem;padding:.7rem 1rem;font-weight:600;max-width:48rem}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;list-style:none;margin:0;padding:0;font-size:.92rem}
.wide{overflow-x:auto;margin:.8rem 0 1.2rem;border:1px solid var(--grid);border-radius:.4rem}
.wide:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.6rem .7rem;font-size:.92rem}
th,td{padding:.32rem .7rem;text-align:right;white-space:nowrap;border-top:1px solid var(--grid)}
th[scope=col]{color:var(--muted);font-weight:600;vertical-align:bottom;white-space:normal;min-width:4.5rem}
th.name,td.name{text-align:left;font-weight:400}
td.name{white-space:normal;overflow-wrap:anywhere;min-width:10rem}
tbody th.name{font-weight:600;position:sticky;left:0;background:var(--paper);min-width:8.5rem;max-width:14rem;white-space:normal;overflow-wrap:anywhere}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem;margin:1rem 0}
.panels svg{width:100%;max-width:46rem;height:auto;display:block;border:1px solid var(--grid);border-radius:.4rem}
details{margin:.4rem 0;border:1px solid var(--grid);border-radius:.4rem;padding:.4rem .8rem}
summary{cursor:pointer;font-weight:600}
dl{margin:.5rem 0 .9rem;padding-left:.8rem;border-left:3px solid var(--grid)}
dt{color:var(--muted);font-size:.85rem}
dd{margin:0 0 .3rem;white-space:pre-wrap;overflow-wrap:anywhere}
footer{height:3rem}
@media print{
:root{LIGHT}
body{font-size:10pt}
nav{display:none}
main,header{max-width:none;padding:0}
.wide{overflow:visible;border:0}
table{font-size:7.5pt}
th,td{padding:.15rem .3rem;white-space:normal}
tbody th.name{position:static}
tr,svg,dl{break-inside:avoid}
details::details-content{content-visibility:visible}
h2,h3,caption{break-after:avoid}
.panels{grid-template-columns:1fr 1fr}
}
""".replace("LIGHT", variables(COLOURS)).replace("DARK", variables(DARK))


def write_page(document: Document) -> str:
    """Put a document into HTML."""
    title = _text(document.title)
    sections = list(enumerate(document.sections, start=1))
    contents = "".join(f'<li><a href="#part-{number}">{_text(section.title)}</a></li>' for number, section in sections)
    mark = f'<p class="simulation" role="note">{_text(document.simulation)}</p>' if document.simulation else ""
    body = "\n".join(_section(section, number) for number, section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{title}</h1>{mark}</header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
{body}
</main>
<footer></footer>
</body>
</html>
"""


def _section(section: Section, number: int) -> str:
    blocks = "\n".join(
        part for place, block in enumerate(section.blocks) for part in _block(block, f"{number}-{place}")
    )
    return f'<section aria-labelledby="part-{number}"><h2 id="part-{number}">{_text(section.title)}</h2>\n{blocks}</section>'


def _block(block: Block, place: str) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield f'<p class="note">{_text(block.text)}</p>'
    elif isinstance(block, Points):
        yield f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in block.texts)}</ul>"
    elif isinstance(block, Grid):
        yield _table(block, place)
    elif isinstance(block, Pictures):
        drawn = "".join(panel_svg(panel, number=number) for number, panel in enumerate(block.panels))
        yield f'<div class="panels">{drawn}</div>'
    else:
        entries = []
        for title, texts in block.entries:
            told = "".join(
                f'<dt>{_text(name)}</dt><dd dir="auto">{_text(text) or "(nothing)"}</dd>' for name, text in texts
            )
            entries.append(f'<h3 dir="auto">{_text(title)}</h3><dl>{told}</dl>')
        yield f"<details><summary>{_text(block.title)} ({len(entries)})</summary>{''.join(entries)}</details>"


def _table(grid: Grid, place: str) -> str:
    def classes(column: int) -> str:
        return ' class="name"' if column < grid.num_names else ""

    head = "".join(f'<th scope="col"{classes(column)}>{_text(name)}</th>' for column, name in enumerate(grid.header))
    rows = []
    for row, cells in enumerate(grid.rows):
        shown = [
            f"<strong>{_text(cell)}</strong>" if (row, column) in grid.best else _text(cell)
            for column, cell in enumerate(cells)
        ]
        first, *others = shown
        rows.append(
            f'<tr><th scope="row" class="name">{first}</th>'
            + "".join(f"<td{classes(column)}>{cell}</td>" for column, cell in enumerate(others, start=1))
            + "</tr>"
        )
    # A region that scrolls must be reachable by the keyboard, and have a name.
    table = (
        f'<div class="wide" tabindex="0" role="region" aria-labelledby="table-{place}"><table>'
        f'<caption id="table-{place}">{_text(grid.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    if len(rows) <= LONG:
        return table
    return f"<details><summary>{_text(grid.caption)} ({len(rows)} rows)</summary>{table}</details>"


def _text(text: str) -> str:
    return escape(printable(text))
