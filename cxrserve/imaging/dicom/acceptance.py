"""Is this a chest radiograph, made to be looked at? What the header says, before any pixel is decoded.

What the header leaves out is no reason to refuse a CR or DX image: portable units send no body part. A
Secondary Capture may hold anything, so it needs something that speaks for a chest.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from cxrserve.errors import NotAChestRadiograph, NotForPresentation
from cxrserve.imaging.dicom.body_part import BodyPart, body_part, contradiction, is_unknown
from cxrserve.imaging.dicom.dataset import text
from cxrserve.warnings import ImageWarning, WarningCode

_RADIOGRAPHY_CLASSES: Final = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, For Presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, For Processing: refused below, with its own reason
    )
)
_FOR_PROCESSING_CLASS: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
_SECONDARY_CAPTURES: Final = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte: may hold one frame
        "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word
        "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color
    )
)
_RADIOGRAPHY_MODALITIES: Final = frozenset(("CR", "DX", "RG", "DR", "XR"))  # PS3.3 C.7.3.1.1.1; DR, XR: seen
_UNSAID_MODALITIES: Final = frozenset(("", "OT", "SC"))
_OTHER_MODALITIES: Final = {
    "AR": "autorefraction",
    "BI": "biomagnetic imaging",
    "BMD": "bone densitometry",
    "CT": "computed tomography",
    "DOC": "a document",
    "ECG": "electrocardiography",
    "ES": "endoscopy",
    "GM": "general microscopy",
    "IO": "an intra-oral radiograph",
    "IVUS": "intravascular ultrasound",
    "KO": "a key object selection",
    "MG": "mammography",
    "MR": "magnetic resonance",
    "NM": "nuclear medicine",
    "OCT": "optical coherence tomography",
    "OP": "ophthalmic photography",
    "PR": "a presentation state",
    "PT": "positron emission tomography",
    "PX": "a panoramic dental radiograph",
    "REG": "a registration",
    "RF": "radiofluoroscopy",
    "RTDOSE": "a radiotherapy dose",
    "RTIMAGE": "a radiotherapy image",
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "a radiotherapy structure set",
    "SEG": "a segmentation",
    "SM": "slide microscopy",
    "SR": "a structured report",
    "US": "ultrasound",
    "XA": "angiography",
    "XC": "photography",
}

_VIEWS: Final = frozenset(
    ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LATERAL", "LAT")
)


def check_is_chest_radiograph(dataset: Dataset) -> tuple[ImageWarning, ...]:
    """Return doubts about the part of the body, or raise why this is no chest radiograph for presentation.

    Raises:
        NotAChestRadiograph: another object, modality or body part, or nothing that speaks for a chest.
        NotForPresentation: raw detector data.
    """
    sop_class, modality = UID(text(dataset, "SOPClassUID")), text(dataset, "Modality").upper()
    _check_sop_class(sop_class)
    _check_modality(modality)
    part = body_part(dataset)
    _check_body_part(part)
    intent = text(dataset, "PresentationIntentType").upper()
    if sop_class == _FOR_PROCESSING_CLASS or intent == "FOR PROCESSING":
        raise NotForPresentation(
            "the image is FOR PROCESSING: raw detector data, whose grey levels no network here was trained "
            "on. Send the image FOR PRESENTATION of the same exposure."
        )
    known = sop_class in _RADIOGRAPHY_CLASSES or modality in _RADIOGRAPHY_MODALITIES
    if not known and part is None:
        raise NotAChestRadiograph(
            "neither SOP class nor Modality say that this is a radiograph, and no body part says chest. Send "
            "the original CR or DX image, or the picture alone as PNG."
        )
    return _doubts(dataset, part)


def _doubts(dataset: Dataset, part: BodyPart | None) -> tuple[ImageWarning, ...]:
    if other := contradiction(dataset, part):
        message = (
            f"{part.source if part else 'The header'} names the chest, but {other.source} another part of "
            f"the body ({other.name}). Make sure that this is a chest radiograph."
        )
        return (ImageWarning(code=WarningCode.BODY_PART_CONTRADICTION, message=message),)
    if is_unknown(dataset, part):
        message = (
            "BodyPartExamined names a part of the body with words that are not known here. Make sure that "
            "this is a chest radiograph."
        )
        return (ImageWarning(code=WarningCode.BODY_PART_UNKNOWN, message=message),)
    return ()


def view_position(dataset: Dataset) -> str | None:
    """View Position where it is one of the known codes: anything else might be free text."""
    view = text(dataset, "ViewPosition").upper()
    return view if view in _VIEWS else None


def _check_sop_class(sop_class: UID) -> None:
    if sop_class in _RADIOGRAPHY_CLASSES or sop_class in _SECONDARY_CAPTURES or sop_class.name == sop_class:
        return  # a class that pydicom has no name for is private or new: the modality decides
    raise NotAChestRadiograph(
        f"the object is {sop_class.name} ({sop_class}), not a projection radiograph. Send a CR or DX image."
    )


def _check_modality(modality: str) -> None:
    if modality in _RADIOGRAPHY_MODALITIES or modality in _UNSAID_MODALITIES:
        return
    if modality in _OTHER_MODALITIES:
        named = f"Modality is {modality} ({_OTHER_MODALITIES[modality]})"
    else:
        named = "Modality is none that makes projection radiographs"
    raise NotAChestRadiograph(f"{named}; CR or DX was expected. Send the chest radiograph itself.")


def _check_body_part(part: BodyPart | None) -> None:
    if part is not None and not part.is_chest:
        raise NotAChestRadiograph(
            f"{part.source} names another part ({part.name}); the chest was expected. Send a chest film."
        )
