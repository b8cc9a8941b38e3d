"""Figures of the data, the fits and the networks' fields of view."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from cxrserve.bundle.contract import Contract
from cxrserve.ensemble.heatmap import to_grey
from cxrserve.findings import NAMES
from cxrserve.imaging.pyramid import resize
from cxrserve.reports.pictures import blend
from training.datasets.labels import CoOccurrence
from training.report.cams import Example
from training.report.evaluation import FieldResult
from training.report.scores import STACK
from training.report.style import FAINT, INK, SCALE_COLOURS, WIDTH, drawn, label_of, new_figure

# Pictures are shown in the dark, as radiographs are.
DARK, LIGHT, DIM = "#101214", "#e8e9eb", "#9aa0a8"
BARS: Final = 18


def image_sizes_figure(shapes: Sequence[tuple[int, int]]) -> Figure:
    """Histogram of image sizes, the most common first (Haque et al., Figure 3)."""
    counts = Counter(shapes).most_common()
    shown, rest = counts[:BARS], sum(count for _, count in counts[BARS:])
    labels = [f"{columns}×{rows}" for (rows, columns), _ in shown] + (["others"] if rest else [])
    heights = [count for _, count in shown] + ([rest] if rest else [])
    with drawn():
        figure = new_figure(3.0)
        axes = figure.subplots()
        bars = axes.bar(labels, heights, 0.75, color=SCALE_COLOURS[3])
        if rest:
            bars[-1].set_color(FAINT)
        axes.bar_label(bars, [f"{height:,}" for height in heights], fontsize=8, color=FAINT, padding=2)
        axes.set_ylabel("images")
        axes.tick_params(axis="x", length=0, rotation=38 if len(labels) > 6 else 0)
        for label in axes.get_xticklabels():
            label.set(color=INK, ha="right" if len(labels) > 6 else "center", rotation_mode="anchor")
        axes.set_xlim(-0.8, max(len(labels), 6) - 0.2)
        axes.margins(y=0.12)
        axes.grid(axis="x", visible=False)
    return figure


def co_occurrence_figure(co_occurrence: CoOccurrence) -> Figure:
    """Of the images with the row's finding, the percentage with the column's (xclassifier, Tables 1, 2)."""
    with drawn():
        figure = new_figure(5.6)
        axes = figure.subplots()
        axes.imshow(co_occurrence.matrix_FF, cmap=_ink_map(), vmin=0, vmax=100, aspect="auto")
        for row, values in enumerate(co_occurrence.matrix_FF):
            for column, value in enumerate(values):
                text = "–" if np.isnan(value) else f"{value:.0f}"
                strong = not np.isnan(value) and value > 55
                axes.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color="#ffffff" if strong else INK,
                )
        axes.set_xticks(range(len(NAMES)), NAMES, rotation=38, ha="left", rotation_mode="anchor", color=INK)
        labels = [
            f"{name}  ({share:.1f} %)" for name, share in zip(NAMES, co_occurrence.share_F, strict=True)
        ]
        axes.set_yticks(range(len(NAMES)), labels, color=INK)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def _ink_map() -> Colormap:
    blue = SCALE_COLOURS[3]
    return LinearSegmentedColormap.from_list("share", [(0, f"{blue}00"), (0.5, f"{blue}a0"), (1, "#245a9c")])


def read_curve(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """By column of a fit's CSV, epochs and values; empty cells and columns without figures are left out."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, cell in row.items():
            if name is None or name in ("epoch", "step") or not cell or not row.get("epoch"):
                continue
            try:
                epoch, value = float(row["epoch"]), float(cell)
            except ValueError:
                continue
            xs, ys = curves.setdefault(name, ([], []))
            xs.append(epoch)
            ys.append(value)
    return curves


def curves_figure(curves: Mapping[str, Path]) -> Figure:
    """The losses of every fit by epoch, on a logarithmic axis."""
    with drawn():
        across = min(4, max(1, len(curves)))
        rows = -(-len(curves) // across)
        figure = new_figure(0.4 + 2.3 * rows)
        grid = figure.subplots(rows, across, squeeze=False)
        styles: dict[str, str] = {}
        for axes, (name, path) in zip(grid.flat, curves.items(), strict=False):
            for column, (xs, ys) in read_curve(path).items():
                if "loss" not in column:
                    continue
                colour = styles.setdefault(column, SCALE_COLOURS[(len(styles) + 3) % len(SCALE_COLOURS)])
                axes.plot(xs, ys, color=colour, label=column.replace("_", " "))
            axes.set_title(f"{name} px" if name.isdigit() else name, loc="left")
            axes.set_yscale("log")
            axes.minorticks_off()
            axes.set_xlabel("epoch")
        for axes in grid.flat[len(curves) :]:
            axes.set_axis_off()
        handles = {
            label: handle
            for axes in grid.flat
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=max(1, len(handles))
        )
    return figure


def fields_figure(fields: Mapping[int, NDArray[np.float64]], results: Mapping[int, FieldResult]) -> Figure:
    """The effective receptive field at each scale, over the whole image (Haque et al., Figure 1).

    The square root of the mean squared gradient, each against its own largest cell; the circles hold half of
    the field's energy, and 95 % of it.
    """
    with drawn():
        figure = new_figure(WIDTH / max(3, len(fields)) + 0.85)
        figure.set_facecolor(DARK)
        grid = figure.subplots(1, len(fields), squeeze=False)
        for axes, (size, field_SS) in zip(grid.flat, fields.items(), strict=True):
            cells = _blocks(np.sqrt(field_SS), 128)
            axes.imshow(cells / cells.max(), cmap="inferno", vmin=0, vmax=1, extent=(0, 1, 1, 0))
            _circles(axes, field_SS, results[size])
            axes.set_title(label_of(str(size)), color=LIGHT)
            axes.set_xlabel(_field_words(results[size], size), color=DIM, fontsize=8)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set(visible=True, color="#3a3f45")
    return figure


def _field_words(result: FieldResult, size: int) -> str:
    theory = "the whole image" if result.theoretical is None else f"{result.theoretical} px"
    share = "" if result.theoretical is None else f" = {result.theoretical / size:.2g} sides"
    return (
        f"half within {100 * result.radius_50:.1f} % of the side\n"
        f"95 % within {100 * result.radius_95:.1f} %\n"
        f"theoretical {theory}{share}"
    )


def _blocks(values_SS: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Means of blocks, so that no more is drawn than can be seen."""
    step = max(1, len(values_SS) // side)
    cut = len(values_SS) // step * step
    blocks: NDArray[np.float64] = (
        values_SS[:cut, :cut].reshape(cut // step, step, cut // step, step).mean((1, 3))
    )
    return blocks


def _circles(axes: Axes, field_SS: NDArray[np.float64], result: FieldResult) -> None:
    side = len(field_SS)
    total = field_SS.sum()
    middle = (np.arange(side) + 0.5) / side
    y, x = float((field_SS.sum(1) * middle).sum() / total), float((field_SS.sum(0) * middle).sum() / total)
    for radius, dash in ((result.radius_50, "-"), (result.radius_95, "--")):
        axes.add_patch(
            Circle((x, y), radius, fill=False, color="#ffffff", linewidth=0.9, linestyle=dash, alpha=0.8)
        )


def cams_figure(examples: Sequence[Example], columns: Sequence[str], contract: Contract) -> Figure:
    """Radiograph, each scale's Grad-CAM, and the ensemble's, one row for each example.

    Colours are as the service draws them: nats of evidence on the scale that the bundle holds for the
    finding, which stands beside its row. Where it is known, the finding's place is outlined.
    """
    side = 256
    shown = [column for column in columns if any(column in example.maps for example in examples)]
    with drawn():
        across = 1 + len(shown)
        cell = WIDTH / across
        figure = new_figure((cell + 0.28) * len(examples) + 0.75)
        figure.set_facecolor(DARK)
        grid = figure.subplots(len(examples), across, squeeze=False)
        for row, example in enumerate(examples):
            radiograph = resize(example.radiograph, side, side, "area")
            for column, axes in zip(("", *shown), grid[row], strict=True):
                axes.set(xticks=[], yticks=[])
                axes.grid(visible=False)
                axes.spines[:].set_visible(False)
                if column == "":
                    axes.imshow(radiograph, cmap="gray", vmin=0, vmax=255)
                    full_strength = contract.full_strength(example.finding)
                    curve = contract.heatmap_curve(example.finding)
                    axes.set_ylabel(
                        f"{example.finding}\nfull colour {full_strength:.3g} nats", color=LIGHT, fontsize=8
                    )
                    if example.location is not None and example.location.any():
                        location = cv2.resize(example.location, (side, side), interpolation=cv2.INTER_NEAREST)
                        axes.contour(location, levels=[0.5], colors=["#7fd4ff"], linewidths=0.9)
                elif column in example.maps:
                    picture = cv2.resize(
                        example.maps[column], (side, side), interpolation=cv2.INTER_LINEAR
                    ).astype(np.float32)
                    axes.imshow(blend(radiograph, to_grey(picture, full_strength, curve)))
                    axes.set_xlabel(
                        f"p = {example.probabilities[column]:.3f}, up to {picture.max():.3g} nats",
                        color=DIM,
                        fontsize=8,
                    )
                else:
                    axes.text(0.5, 0.5, "not known here", color=DIM, ha="center", transform=axes.transAxes)
                if row == 0:
                    axes.set_title(_panel(column), color=LIGHT)
        linear = {contract.heatmap_curve(example.finding) == "linear" for example in examples}
        _colour_bar(figure, grid, all_linear=linear == {True})
    return figure


def _panel(column: str) -> str:
    return {"": "radiograph", STACK: "ensemble"}.get(column, label_of(column))


def _colour_bar(figure: Figure, grid: NDArray[np.object_], *, all_linear: bool) -> None:
    """Colours as shares of the full colour; on one scale for all findings by the square root."""
    mappable = ScalarMappable(PowerNorm(1 if all_linear else 0.5, 0, 1), "inferno")
    bar = figure.colorbar(
        mappable, ax=grid.ravel().tolist(), location="bottom", aspect=70, shrink=0.6, pad=0.02, extend="max"
    )
    ticks = [0, 0.25, 0.5, 0.75, 1] if all_linear else [0, 1 / 16, 1 / 4, 1]
    bar.set_ticks(ticks)
    bar.set_ticklabels([f"{tick:.0%}" for tick in ticks])
    bar.ax.tick_params(colors=DIM, labelcolor=DIM, labelsize=8)
    bar.outline.set_visible(False)
    bar.set_label(
        "evidence (Grad-CAM), share of the full colour, whose value in nats stands beside each row",
        color=DIM,
        fontsize=8,
    )
