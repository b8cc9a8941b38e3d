"""Style of the figures: one palette, one type size, ink that follows a dark page.

Colours are told apart by people with any of the common colour blindnesses, on white and on black: Paul
Tol's high-contrast set with a teal between. What a colour says is also said by a label or a dash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

from training.report.scores import STACK, VOTING

# Sentinels: the page replaces them by its own variables, so that they change with light and dark.
INK: Final = "#1b2530"
FAINT: Final = "#66717d"
RULE: Final = "#d6dbe0"
PAPER: Final = "#fefefe"
_VARIABLES: Final = {INK: "var(--ink)", FAINT: "var(--faint)", RULE: "var(--rule)", PAPER: "var(--paper)"}

# From coarse to fine.
SCALE_COLOURS: Final = ("#ddaa33", "#cc5566", "#2a9d8f", "#3f7fca", "#8c6bb1", "#7d8790")
MARKERS: Final = ("o", "s", "D", "^", "v", "P")
WIDTH: Final = 10.0  # inches, the page's full width


def colour_of(column: str, sizes: tuple[int, ...]) -> str:
    """The colour of a scale, of voting, of the stack, in every figure."""
    if column == STACK:
        return INK
    if column == VOTING:
        return FAINT
    return SCALE_COLOURS[sizes.index(int(column)) % len(SCALE_COLOURS)]


def signed(value: float) -> str:
    """Three digits with a sign; what rounds to nothing has none."""
    text = f"{value:+.3f}"
    return "0.000" if text[1:] == "0.000" else text.replace("-", "−")


def label_of(column: str) -> str:
    """A column as readers call it."""
    return column if column in (STACK, VOTING) else f"{column} px"


@contextmanager
def drawn() -> Iterator[None]:
    """Figures made in this block have the report's style."""
    settings: Any = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.labelsize": 9,
        "axes.edgecolor": RULE,
        "axes.labelcolor": FAINT,
        "axes.titlecolor": INK,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": FAINT,
        "ytick.labelcolor": FAINT,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "legend.labelcolor": INK,
        "text.color": INK,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "lines.linewidth": 1.5,
        "lines.solid_capstyle": "round",
        "svg.fonttype": "none",
        "svg.hashsalt": "cxrserve",
        "path.simplify_threshold": 0.5,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """A figure without pyplot: nothing is kept in a global list."""
    return Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: Figure) -> str:
    """`figure` as inline SVG whose ink is the page's; text stays text."""
    buffer = BytesIO()
    with drawn():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    for sentinel, variable in _VARIABLES.items():
        text = text.replace(sentinel, variable)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Ids that nothing points at would stand several times on one page.
    text = re.sub(r'(<(?:g|svg)[^>]*?) id="[^"]*"', r"\1", text)
    text = re.sub(r"font: ([^;\"]*?)'DejaVu Sans', sans-serif", r"font: \1var(--sans)", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # A hundredth of a point is enough for lines; figures in text keep all their digits.
    text = re.sub(r'="[^"]*"', lambda match: re.sub(r"(\d+\.\d{2})\d+", r"\1", match[0]), text)
    return re.sub(r"\s*\n\s*", "\n", text)


def as_webp(figure: Figure, dots_per_inch: int = 140, quality: int = 82) -> bytes:
    """`figure` as a WebP picture: for what is made of pixels."""
    from PIL import Image

    buffer = BytesIO()
    with drawn():
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor=figure.get_facecolor())
    packed = BytesIO()
    Image.open(buffer).convert("RGB").save(packed, "WEBP", quality=quality, method=6)
    return packed.getvalue()
