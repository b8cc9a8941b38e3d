"""The polarity of a DICOM image: whether dense tissue has high or low stored values, by the header's word.

MONOCHROME1 is one of several elements that exchange black and white; `inversions` names the others.
`Radiograph.inverted_by` counts them all, and `profiles.apply_profile` inverts where their number is odd.
Networks must be given what a viewer shows, so all of them count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxrserve.imaging.dicom.dataset import text
from cxrserve.imaging.dicom.greyscale import read_greyscale
from cxrserve.imaging.radiograph import LUT_SHAPE
from cxrserve.warnings import ImageWarning, WarningCode

_ELEMENTS = ("RescaleSlope", "ModalityLUTSequence", "VOILUTSequence")
_SAMPLED_SIDE = 256


def inversions(
    dataset: Dataset, photometric: str, pixels_HW: NDArray[np.integer]
) -> tuple[tuple[str, ...], tuple[ImageWarning, ...]]:
    """The elements, besides MONOCHROME1, that exchange black and white, and doubts where they contradict."""
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return (), ()
    reasons, warnings = _shape(dataset, photometric)
    if not any(keyword in dataset for keyword in _ELEMENTS):
        return reasons, warnings
    greyscale = read_greyscale(dataset)
    if greyscale.tables:
        rows, columns = pixels_HW.shape
        sample = pixels_HW[:: max(1, rows // _SAMPLED_SIDE), :: max(1, columns // _SAMPLED_SIDE)]
        lowest = int(sample.min())
        counts = np.bincount((sample.astype(np.int64) - lowest).ravel())
        if greyscale.is_unclear(counts, lowest):
            warnings = (*warnings, _unclear("the windows and tables of the header have opposite directions"))
        if greyscale.falls(counts, lowest):
            reasons = (*reasons, "falling-lut" if not greyscale.windows else "rescale-slope")
    elif greyscale.slope < 0:
        reasons = (*reasons, "rescale-slope")
    return reasons, warnings


def _shape(dataset: Dataset, photometric: str) -> tuple[tuple[str, ...], tuple[ImageWarning, ...]]:
    """Presentation LUT Shape repeats what the photometric interpretation says: PS3.3 C.8.11.3."""
    shape = text(dataset, "PresentationLUTShape").upper()
    if shape == "INVERSE" and photometric == "MONOCHROME2":
        warning = _unclear(
            "Presentation LUT Shape is INVERSE, which belongs to MONOCHROME1, but the image is MONOCHROME2; "
            "it was inverted"
        )
        return (LUT_SHAPE,), (warning,)
    if shape == "IDENTITY" and photometric == "MONOCHROME1":
        warning = _unclear(
            "Presentation LUT Shape is IDENTITY, which belongs to MONOCHROME2, but the image is MONOCHROME1; "
            "it was inverted"
        )
        return (), (warning,)
    return (), ()


def _unclear(reason: str) -> ImageWarning:
    return ImageWarning(
        code=WarningCode.POLARITY_UNCLEAR,
        message=f"Whether low values are black or white is not certain: {reason}. Compare the preview with "
        "the original, and send a file with a sound header if black and white are exchanged.",
    )
