"""Figures of whole radiographs: at each size, and with labels and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxrserve.imaging.pyramid import resize
from training.report.figures_data import DARK, DIM, LIGHT
from training.report.outputs import Output
from training.report.style import WIDTH, drawn, label_of, new_figure

# Side of a drawn radiograph; larger ones are resized, smaller ones show their pixels.
SIDE: Final = 512


def levels_figure(levels: Mapping[int, NDArray[np.uint8]]) -> Figure:
    """One radiograph at each size, side by side (Chizari, Figure 3)."""
    with drawn():
        figure = new_figure(WIDTH / max(3, len(levels)) + 0.4)
        figure.set_facecolor(DARK)
        grid = figure.subplots(1, len(levels), squeeze=False)
        for axes, (size, level_SS) in zip(grid.flat, levels.items(), strict=True):
            axes.imshow(_shown(level_SS), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(label_of(str(size)), color=LIGHT)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
    return figure


def outputs_figure(outputs: Sequence[Output]) -> Figure:
    """Radiographs with the findings of their labels and those that the stack calls."""
    lines = max(3, *(len(_words(output).splitlines()) for output in outputs))
    with drawn():
        figure = new_figure(WIDTH / 4 + 0.19 * lines + 0.4)
        figure.set_facecolor(DARK)
        grid = figure.subplots(1, max(4, len(outputs)), squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            axes.set_facecolor(DARK)
        for axes, output in zip(grid.flat, outputs, strict=False):
            axes.imshow(_shown(output.radiograph), cmap="gray", vmin=0, vmax=255)
            axes.set_xlabel(_words(output), color=LIGHT, fontsize=7.5, loc="left", linespacing=1.35)
        for axes in grid.flat[len(outputs) :]:
            axes.set_axis_off()
        grid.flat[0].set_title("✓ right, + called in error, − missed", color=DIM, fontsize=8, loc="left")
    return figure


def _words(output: Output) -> str:
    right = {name: value for name, value in output.called.items() if name in output.labels}
    wrong = {name: value for name, value in output.called.items() if name not in output.labels}
    signs = (("✓", right), ("+", wrong), ("−", output.missed))
    return "\n".join(f"{sign} {name} {value:.2f}" for sign, part in signs for name, value in part.items())


def _shown(image_SS: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return resize(image_SS, SIDE, SIDE, "area") if len(image_SS) > SIDE else image_SS
