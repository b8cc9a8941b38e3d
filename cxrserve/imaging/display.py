"""From bytes to what a screen needs: the stored values at full depth, and how the file wants them shown.

The same reader, limits and refusals as `prepare.py`: what cannot be judged is not shown either, with the
same reason. Runs in a decode worker.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.imaging.appearance import appearance_warnings
from cxrserve.imaging.content import JUDGED_SIDE, check_content
from cxrserve.imaging.dicom.presentation import Presentation, read_presentation
from cxrserve.imaging.display_header import MAX_TABLES, DisplayedImage, DisplayHeader, Table
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.orientation import shown_directions, swaps_sides
from cxrserve.imaging.prepare import read_radiograph
from cxrserve.imaging.profiles import apply_profile, is_full_range
from cxrserve.imaging.pyramid import Preprocessing, resize
from cxrserve.imaging.radiograph import Radiograph

Grey = NDArray[np.uint8]

_NOT_ONE_TABLE: Final = frozenset(("clahe",))  # a place's grey value depends on its neighbourhood


def display(data: bytes, preprocessing: Preprocessing, limits: Limits) -> DisplayedImage:
    """Decode `data` for a screen.

    Raises:
        RequestError, UnsupportedFormat, TooLarge, ImageError: as `prepare.prepare` does.
    """
    radiograph = read_radiograph(data, limits)
    grey_HW, _ = apply_profile(radiograph, preprocessing.profile, preprocessing.pictures)
    rows, columns = grey_HW.shape
    check_content(grey_HW, resize(grey_HW, min(rows, JUDGED_SIDE), min(columns, JUDGED_SIDE), "area"))
    shown = read_presentation(data, limits) if radiograph.about.format == "dicom" else Presentation()
    turn = radiograph.about.orientation
    lowest, highest = radiograph.extremes
    samples_HW, offset = _samples(radiograph.pixels_HW, lowest, highest)
    tables = [
        (Table(kind="file", label=table.label), table.greys(lowest, highest))
        for table in shown.greyscale.tables
    ]
    if preprocessing.profile not in _NOT_ONE_TABLE:
        tables.append((Table(kind="network"), _seen_by_networks(radiograph, grey_HW, lowest, highest)))
    del tables[MAX_TABLES:]
    header = DisplayHeader(
        about=radiograph.about,
        sample="uint8" if samples_HW.dtype == np.uint8 else "uint16",
        offset=offset,
        lowest=lowest,
        highest=highest,
        slope=shown.greyscale.slope,
        intercept=shown.greyscale.intercept,
        white_is_low=radiograph.white_is_low,
        aspect=1 / shown.aspect if swaps_sides(turn) else shown.aspect,
        is_calibrated=shown.is_calibrated,
        windows=shown.greyscale.windows,
        tables=tuple(table for table, _ in tables),
        orientation=shown_directions(shown.orientation, turn) if shown.orientation else None,
        laterality=shown.laterality,
        patient=shown.patient,
        study_date=shown.study_date,
        study_description=shown.study_description,
        warnings=radiograph.warnings
        + appearance_warnings(radiograph, full_range=is_full_range(preprocessing.profile)),
    )
    return DisplayedImage(
        header=header, payload=b"".join((samples_HW.tobytes(), *(greys.tobytes() for _, greys in tables)))
    )


def _samples(pixels_HW: NDArray[np.integer], lowest: int, highest: int) -> tuple[NDArray[np.integer], int]:
    """The stored values without a sign, in as few bytes as hold them, and what to add to get them back."""
    if lowest >= 0:
        return pixels_HW.astype(np.uint8 if highest < 256 else "<u2", copy=False), 0
    kind = np.uint8 if highest - lowest < 256 else np.dtype("<u2")
    return (pixels_HW.astype(np.int32) - lowest).astype(kind), lowest


def _seen_by_networks(radiograph: Radiograph, grey_HW: Grey, lowest: int, highest: int) -> Grey:
    """The grey value under the profile, for each stored value; those that do not occur take the one below.

    White is dense in `grey_HW` already; a screen inverts MONOCHROME1, so it gets the table inverted.
    """
    greys = np.full(highest - lowest + 1, -1, np.int16)
    greys[radiograph.pixels_HW.astype(np.int32).ravel() - lowest] = grey_HW.ravel()
    occurs = np.maximum.accumulate(np.where(greys >= 0, np.arange(len(greys)), 0))
    table = greys[occurs].astype(np.uint8)
    return (255 - table).astype(np.uint8) if radiograph.white_is_low else table
