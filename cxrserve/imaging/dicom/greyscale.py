"""The greyscale of a DICOM header: from stored values to grey values, as a viewer opens the image.

Modality LUT or rescale (PS3.3 C.11.1), then VOI LUT or window (C.11.2). Photometric interpretation comes
after them, and Presentation LUT Shape says the same thing once more (C.11.6): `polarity.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrserve.imaging.dicom.dataset import number, text
from cxrserve.imaging.dicom.luts import lut_entries
from cxrserve.imaging.display_header import MAX_TABLES, Window
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS

Values = NDArray[np.float64]
Transform = Callable[[Values], Values]

_MAX_LUTS: Final = MAX_TABLES // 2
_CLEARLY_FEWER_BITS: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class GreyTable:
    """A table of the file: `greys` maps stored values to grey values, 0 to 255."""

    label: str | None
    transform: Transform

    def greys(self, lowest: int, highest: int) -> NDArray[np.uint8]:
        """A grey value for each stored value from `lowest` to `highest`."""
        values = self.transform(np.arange(lowest, highest + 1, dtype=np.float64))
        greys: NDArray[np.uint8] = np.rint(values.clip(0, 255)).astype(np.uint8)
        return greys


@dataclass(frozen=True, kw_only=True, slots=True)
class Greyscale:
    """The way from stored values to grey values by a header. A viewer opens with the first window or table.

    `windows` act on `stored · slope + intercept`; `tables` on stored values.
    """

    slope: float = 1.0
    intercept: float = 0.0
    windows: tuple[Window, ...] = ()
    tables: tuple[GreyTable, ...] = ()

    def falls(self, counts: NDArray[np.int64], lowest: int) -> bool:
        """Whether higher stored values are shown darker, over an image whose values occur `counts` times.

        `counts` begins with the value `lowest`. Asked of what a viewer opens with.
        """
        if self.windows or not self.tables:
            return self.slope < 0
        return _falls(self.tables[0].greys(lowest, lowest + len(counts) - 1), counts)

    def is_unclear(self, counts: NDArray[np.int64], lowest: int) -> bool:
        """Whether the header offers several ways to show the image, of opposite direction."""
        ways = {_falls(table.greys(lowest, lowest + len(counts) - 1), counts) for table in self.tables}
        return len(ways | ({self.slope < 0} if self.windows else set())) > 1


def read_greyscale(dataset: Dataset) -> Greyscale:
    """The greyscale of `dataset`. What is not well formed is left out."""
    slope, intercept = _rescale(dataset)
    windows = _windows(dataset)
    modality = _modality_lut(dataset)
    if modality is None:
        rescale: Transform = lambda stored: stored * slope + intercept  # noqa: E731
        tables = tuple(_through(rescale, lut) for lut in _voi_luts(dataset))
        return Greyscale(slope=slope, intercept=intercept, windows=windows, tables=tables)
    # Windows act on what the Modality LUT returns, which a viewer cannot compute: together they are a table.
    tables = (
        *(GreyTable(label=window.label, transform=_windowed(modality, window)) for window in windows),
        *(_through(modality, lut) for lut in _voi_luts(dataset)),
    )
    return Greyscale(tables=tables or (GreyTable(label=None, transform=_full_range(modality)),))


def _falls(greys: NDArray[np.uint8], counts: NDArray[np.int64]) -> bool:
    """Whether greys fall with the values, by the covariance over the image."""
    weights = counts / counts.sum()
    values = np.arange(len(counts)) / len(counts)
    centred = values - (weights * values).sum()
    return bool((weights * centred * greys).sum() < 0)


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if not slope or not math.isfinite(slope):
        return 1.0, 0.0
    return slope, intercept if intercept is not None and math.isfinite(intercept) else 0.0


def _windows(header: Dataset) -> tuple[Window, ...]:
    function = text(header, "VOILUTFunction").upper()
    windows: list[Window] = []
    for index in range(_MAX_LUTS):
        centre, width = number(header, "WindowCenter", index), number(header, "WindowWidth", index)
        if centre is None or width is None or not math.isfinite(centre) or not 0 < width < math.inf:
            break
        if function not in ("LINEAR_EXACT", "SIGMOID") and width < 1:  # C.11.2.1.2.1
            break
        explanations = header.get("WindowCenterWidthExplanation") or ()
        labels = [explanations] if isinstance(explanations, str) else list(explanations)
        windows.append(
            Window.model_validate(
                {
                    "label": labels[index][:64] if index < len(labels) and labels[index] else None,
                    "centre": centre,
                    "width": width,
                    "function": function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR",
                }
            )
        )
    return tuple(windows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lut:
    label: str | None
    first: int
    bits: int
    entries: Values

    def __call__(self, values: Values) -> Values:
        """The entry for each of `values`; the ends go on beyond the table."""
        first = self.first
        if first >= 2**15 and values.min() < 0:  # its sign was lost: the element's VR depends on another one
            first -= 2**16
        indices = np.rint(values - first).clip(0, len(self.entries) - 1).astype(np.int64)
        return self.entries[indices]


def _luts(header: Dataset, keyword: str) -> tuple[_Lut, ...]:
    luts: list[_Lut] = []
    with suppress(*FOREIGN_ERRORS):
        for item, _ in zip(header.get(keyword) or (), range(_MAX_LUTS), strict=False):
            with suppress(*FOREIGN_ERRORS):
                first, bits, entries = lut_entries(item)
                explanation = item.get("LUTExplanation")
                luts.append(
                    _Lut(
                        label=str(explanation)[:64] if explanation else None,
                        first=first,
                        bits=bits,
                        entries=entries.astype(np.float64),
                    )
                )
    return tuple(luts)


def _modality_lut(header: Dataset) -> _Lut | None:
    return next(iter(_luts(header, "ModalityLUTSequence")), None)


def _voi_luts(header: Dataset) -> tuple[_Lut, ...]:
    return _luts(header, "VOILUTSequence")


def _through(modality: Transform, lut: _Lut) -> GreyTable:
    """A VOI LUT over what `modality` returns, its output range stretched over 0 to 255.

    Many tables say 16 bits and hold 10 or 12: then the largest entry says how many there are.
    """
    needed = int(lut.entries.max()).bit_length()
    bits = needed if lut.bits - needed >= _CLEARLY_FEWER_BITS else lut.bits
    full = float(max(2**bits - 1, 1))
    return GreyTable(label=lut.label, transform=lambda stored: lut(modality(stored)) / full * 255)


def _windowed(modality: Transform, window: Window) -> Transform:
    centre, width = window.centre, window.width

    def transform(stored: Values) -> Values:
        x = modality(stored)
        if window.function == "SIGMOID":
            return np.asarray(255 / (1 + np.exp((-4 * (x - centre) / width).clip(-60, 60))))
        if window.function == "LINEAR_EXACT":
            return ((x - centre) / width + 0.5) * 255
        return np.asarray(((x - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255)

    return transform


def _full_range(modality: Transform) -> Transform:
    def transform(stored: Values) -> Values:
        x = modality(stored)
        span = float(np.ptp(x)) or 1.0
        return np.asarray((x - x.min()) / span * 255)

    return transform
