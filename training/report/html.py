"""HTML put together from parts: everything that is not markup here is escaped.

A page holds its style, figures and pictures, and asks nothing of any other host.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Final

from matplotlib.figure import Figure

from training.report.style import as_svg, as_webp

# What a saved page may load, said to the browser as well: nothing.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is finished: it is not escaped again."""

    html: str


Cell = str | Markup


def text(value: Cell) -> str:
    """`value` as HTML."""
    return value.html if isinstance(value, Markup) else escape(value)


def join(parts: Iterable[Markup]) -> Markup:
    """One after the other."""
    return Markup("\n".join(part.html for part in parts))


def paragraph(content: Cell, kind: str = "") -> Markup:
    """A paragraph, of the class `kind` ("lead", "note")."""
    return Markup(f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>")


def heading(title: str) -> Markup:
    """A heading within a section."""
    return Markup(f"<h3>{escape(title)}</h3>")


def section(anchor: str, title: str, *parts: Markup) -> Markup:
    """A section with a heading that the contents point at."""
    return Markup(f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{join(parts).html}\n</section>')


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    foot: Sequence[Cell] = (),
    text_columns: Sequence[int] = (),
) -> Markup:
    """A table; the columns numbered `text_columns` are text and may break into lines."""

    def row(cells: Sequence[Cell]) -> str:
        kinds = (' class="words"' if index in text_columns else "" for index in range(len(cells)))
        return "".join(f"<td{kind}>{text(cell)}</td>" for kind, cell in zip(kinds, cells, strict=True))

    kinds = (' class="words"' if index in text_columns else "" for index in range(len(head)))
    headings = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    body = "\n".join(f"<tr>{row(cells)}</tr>" for cells in rows)
    last = f"<tfoot><tr>{row(foot)}</tr></tfoot>" if foot else ""
    inner = f"<thead><tr>{headings}</tr></thead>\n<tbody>\n{body}\n</tbody>{last}"
    return Markup(f'<div class="table"><table>{inner}</table></div>')


def drawing(figure: Figure, caption: str, *, alt: str, narrow: bool = False) -> Markup:
    """`figure` as inline SVG, with a caption below; `alt` says in words what it is."""
    svg = as_svg(figure).replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    kind = ' class="narrow"' if narrow else ""
    return Markup(f"<figure{kind}>{svg}<figcaption>{escape(caption)}</figcaption></figure>")


def picture(figure: Figure, caption: str, *, alt: str) -> Markup:
    """`figure` as a picture of pixels."""
    data = base64.b64encode(as_webp(figure)).decode("ascii")
    return Markup(
        f'<figure><img alt="{escape(alt)}" src="data:image/webp;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def cards(figures: Iterable[tuple[str, str]]) -> Markup:
    """Headline figures: (figure, what it is)."""
    items = (
        f'<div class="figure-card"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    )
    return Markup(f'<div class="figures">{"".join(items)}</div>')


def page(title: str, lead: Markup, sections: Sequence[tuple[str, str, Markup]], closing: str) -> str:
    """The whole page; `sections` are (anchor, title, content)."""
    style = files("training.report").joinpath("page.css").read_text(encoding="utf-8")
    contents = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in sections)
    body = join(section(anchor, name, content) for anchor, name, content in sections).html
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{lead.html}
<nav>{contents}</nav>
{body}
<footer>{escape(closing)}</footer>
</main>
</body>
</html>
"""
