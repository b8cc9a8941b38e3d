"""The warnings that an answer can carry: every code, its meaning and its remedy.

A warning does not refuse an image; it says why the result may mean less than it seems. Each has a code for
machines and a message for people. Codes never change their meaning; messages may.
A new one needs a member, an explanation, a place that gives it, and an entry in `SEVERE` of
`viewer/js/cautions.js` if the answer may then mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class WarningCode(StrEnum):
    """All codes, in the order in which an image is read, checked and analysed."""

    # The file
    TRANSFER_SYNTAX = "transfer-syntax"
    REPAIRED = "repaired"
    EXCESS_PIXEL_DATA = "excess-pixel-data"
    COLOUR_LABEL = "colour-label"
    TRANSPARENCY = "transparency"
    PIXEL_REPRESENTATION = "pixel-representation"
    LEFT_JUSTIFIED = "left-justified"
    PIXEL_PADDING = "pixel-padding"
    NON_SQUARE_PIXELS = "non-square-pixels"
    # The header against itself, and against the picture
    POLARITY_UNCLEAR = "polarity-unclear"
    ORIENTATION_CORRECTED = "orientation-corrected"
    ORIENTATION_UNCLEAR = "orientation-unclear"
    BODY_PART_CONTRADICTION = "body-part-contradiction"
    BODY_PART_UNKNOWN = "body-part-unknown"
    # The picture
    ENLARGED = "enlarged"
    GREY_RANGE_WASTED = "grey-range-wasted"
    DARK_RANGE = "dark-range"
    TINTED = "tinted"
    BORDER = "border"
    EMPTY_PART = "empty-part"
    UNUSUAL_SHAPE = "unusual-shape"
    SEVERAL_IMAGES = "several-images"
    # The film check
    UNLIKE_TRAINING = "unlike-training"
    NOT_A_CHEST = "not-a-chest"
    TURNED = "turned"
    INVERTED = "inverted"
    MIRRORED = "mirrored"
    CUT_OFF = "cut-off"
    VIEW_CONTRADICTION = "view-contradiction"
    VIEW_NOT_COVERED = "view-not-covered"
    # Triage
    NO_GUARANTEE = "no-guarantee"


class Explanation(NamedTuple):
    """The plain meaning of a code, and the remedy."""

    meaning: str
    remedy: str


EXPLANATIONS: Final[dict[WarningCode, Explanation]] = {
    WarningCode.TRANSFER_SYNTAX: Explanation(
        "The DICOM file declares no transfer syntax, or another one than it is written in.",
        "Send the file with its true transfer syntax.",
    ),
    WarningCode.REPAIRED: Explanation(
        "The file's structure is damaged, but its image is whole and was read.",
        "Send the image again from its source.",
    ),
    WarningCode.EXCESS_PIXEL_DATA: Explanation(
        "There are more pixel data than the header declares; the last bytes were left out.",
        "Send a file whose header and pixel data agree.",
    ),
    WarningCode.COLOUR_LABEL: Explanation(
        "The header calls the samples RGB, but they are brightness and chroma (YCbCr); they were read so.",
        "Send a file with the true Photometric Interpretation.",
    ),
    WarningCode.TRANSPARENCY: Explanation(
        "The picture has transparent parts, which were read as black.", "Send it without transparency."
    ),
    WarningCode.PIXEL_REPRESENTATION: Explanation(
        "The header contradicts the pixel values on whether they have a sign.",
        "Send a file with the true Pixel Representation.",
    ),
    WarningCode.LEFT_JUSTIFIED: Explanation(
        "The values stand in the high bits of their words; they were moved down.",
        "Send values in the low bits, as DICOM asks for since 2014.",
    ),
    WarningCode.PIXEL_PADDING: Explanation(
        "The image declares padding, which was kept as in the training images.",
        "Crop a large padded border, which changes the grey levels of the rest.",
    ),
    WarningCode.NON_SQUARE_PIXELS: Explanation(
        "The pixels are not square; the image was analysed as it is stored.", "Send square pixels."
    ),
    WarningCode.POLARITY_UNCLEAR: Explanation(
        "Elements of the header contradict each other on whether low values are black or white.",
        "Compare the preview with the original; send a file with a sound header if it is inverted.",
    ),
    WarningCode.ORIENTATION_CORRECTED: Explanation(
        "The image was turned or mirrored to the standard orientation, as its header says.",
        "Compare the preview with the original; correct Patient Orientation if it is wrong.",
    ),
    WarningCode.ORIENTATION_UNCLEAR: Explanation(
        "The header's statements on the orientation are unusable or contradict each other.",
        "Look at the preview: the head must be up and the patient's left at the right.",
    ),
    WarningCode.BODY_PART_CONTRADICTION: Explanation(
        "One element of the header names the chest and another one another part of the body.",
        "Make sure that it is a chest radiograph; correct the header.",
    ),
    WarningCode.BODY_PART_UNKNOWN: Explanation(
        "The header names a part of the body with words that are not known here.",
        "Make sure that it is a chest radiograph; send BodyPartExamined CHEST.",
    ),
    WarningCode.ENLARGED: Explanation(
        "The image has fewer pixels than some networks look at and was enlarged for them.",
        "Send the image at its native size.",
    ),
    WarningCode.GREY_RANGE_WASTED: Explanation(
        "A few very bright or dark pixels, or padding, take most of the grey range.",
        "Send the image without hot pixels, markers at full scale or padding.",
    ),
    WarningCode.DARK_RANGE: Explanation(
        "The values use a small part of the range that their bits allow, so the networks see a dark image.",
        "Send the image with its true bit depth.",
    ),
    WarningCode.TINTED: Explanation(
        "The picture has a tint or a glow: it may be a photograph of a film or of a screen.",
        "Send the original radiograph.",
    ),
    WarningCode.BORDER: Explanation(
        "A wide plain border surrounds the radiograph: the networks see it smaller than it is.",
        "Crop the picture to the radiograph.",
    ),
    WarningCode.EMPTY_PART: Explanation(
        "A part of the picture is empty or repeats itself: the image may have arrived in part.",
        "Send the image again from its source.",
    ),
    WarningCode.UNUSUAL_SHAPE: Explanation(
        "The picture is much wider or taller than a chest radiograph.",
        "Send one radiograph, uncropped and not stretched.",
    ),
    WarningCode.SEVERAL_IMAGES: Explanation(
        "The picture seems to hold several radiographs side by side.", "Send each radiograph on its own."
    ),
    WarningCode.UNLIKE_TRAINING: Explanation(
        "The picture is unlike what the networks were trained on.",
        "Do not rely on the result; use a bundle that was trained on such images.",
    ),
    WarningCode.NOT_A_CHEST: Explanation(
        "The picture is unlike every chest radiograph of the reference.", "Send a chest radiograph."
    ),
    WarningCode.TURNED: Explanation(
        "The picture seems to lie on its side or upside down.", "Send it upright."
    ),
    WarningCode.INVERTED: Explanation(
        "Black and white seem to be exchanged.", "Send the image with bones white."
    ),
    WarningCode.MIRRORED: Explanation(
        "The picture seems to be mirrored; the heart may also lie on the right.",
        "Compare with the side marker.",
    ),
    WarningCode.CUT_OFF: Explanation(
        "A part of the chest seems to be missing at a side.", "Send the whole radiograph."
    ),
    WarningCode.VIEW_CONTRADICTION: Explanation(
        "The picture's view is not the one that the header names.", "Correct View Position."
    ),
    WarningCode.VIEW_NOT_COVERED: Explanation(
        "The networks were not trained on this view.", "Send a view that the bundle covers."
    ),
    WarningCode.NO_GUARANTEE: Explanation(
        "The bundle's calibration of triage does not cover what was served.",
        "Use guarantee=exact, or calibrate the bundle for this machine.",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageWarning:
    """One warning about one image: a code for machines and a sentence for people, without patient data."""

    code: WarningCode
    message: str
