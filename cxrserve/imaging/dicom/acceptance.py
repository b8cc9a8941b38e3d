"""Is this a chest radiograph, made to be looked at? What the header says, before any pixel is decoded.

What the header leaves out is no reason to refuse a CR or DX image: portable units send no body part. A
Secondary Capture may hold anything, so it needs something that speaks for a chest.
"""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from cxrserve.errors import NotAChestRadiograph, NotForPresentation
from cxrserve.imaging.dicom.dataset import text

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

# PS3.16 Annex L, and what is seen in the field; letters only.
_CHEST_WORDS: Final = frozenset(
    (
        *("CHEST", "THORAX", "TORAX", "LUNG", "LUNGS", "HEART", "RIB", "RIBS", "STERNUM", "MEDIASTINUM"),
        *("BRONCHUS", "DIAPHRAGM", "CHESTABDOMEN", "CHESTABDPELVIS", "CHESTPORT", "PORTCHEST"),
        *("CHESTPA", "CHESTAP", "CHESTLAT", "THORAXPA", "THORAXAP", "THORAXLAT"),
    )
)
_OTHER_WORDS: Final = frozenset(
    (
        *("SKULL", "HEAD", "EAR", "EYE", "ORBIT", "SINUS", "SINUSES", "MASTOID", "NASALBONE", "ZYGOMA"),
        *("JAW", "JAWBONE", "MANDIBLE", "MAXILLA", "TEETH", "TMJ", "NECK", "BREAST"),
        *("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "LSSPINE", "TLSPINE", "SACRUM", "COCCYX"),
        *("CERVICALSPINE", "THORACICSPINE", "LUMBARSPINE", "SIJOINT"),
        *("CLAVICLE", "ACJOINT", "SCAPULA", "SHOULDER", "ARM", "UPPERARM", "HUMERUS", "ELBOW", "FOREARM"),
        *("RADIUS", "ULNA", "RADIUSULNA", "WRIST", "HAND", "FINGER", "FINGERS", "THUMB", "EXTREMITY"),
        *("ABDOMEN", "ABDOMENPELVIS", "KUB", "PELVIS", "HIP", "HIPS", "BUTTOCK", "THIGH", "FEMUR"),
        *("KNEE", "KNEES", "PATELLA", "LEG", "CALF", "TIBIA", "FIBULA", "TIBIAFIBULA", "TIBFIB"),
        *("ANKLE", "FOOT", "HEEL", "CALCANEUS", "TOE", "TOES"),
    )
)
_OTHER_REGIONS: Final = {  # PS3.16 CID 4031, SNOMED CT and its older SRT codes
    "818981001": "abdomen",
    "113345001": "abdomen",
    "T-D4000": "abdomen",
    "70258002": "ankle",
    "T-15750": "ankle",
    "76752008": "breast",
    "T-04000": "breast",
    "122494005": "cervical spine",
    "T-11501": "cervical spine",
    "76248009": "elbow",
    "T-15430": "elbow",
    "56459004": "foot",
    "T-D9700": "foot",
    "85562004": "hand",
    "T-D8700": "hand",
    "69536005": "head",
    "T-D1100": "head",
    "24136001": "hip",
    "T-15710": "hip",
    "72696002": "knee",
    "T-D9200": "knee",
    "122496007": "lumbar spine",
    "T-11503": "lumbar spine",
    "12921003": "pelvis",
    "T-D6000": "pelvis",
    "16982005": "shoulder",
    "T-D2220": "shoulder",
    "89546000": "skull",
    "T-11100": "skull",
    "122495006": "thoracic spine",
    "T-11502": "thoracic spine",
    "8205005": "wrist",
    "T-15460": "wrist",
}
_CHEST_REGIONS: Final = frozenset(("51185008", "T-D3000", "43799004", "39607008", "T-28000", "816094009"))
_VIEWS: Final = frozenset(
    ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LATERAL", "LAT")
)


def check_is_chest_radiograph(dataset: Dataset) -> None:
    """Pass, or raise why this is no chest radiograph for presentation.

    Raises:
        NotAChestRadiograph: another object, modality or body part, or nothing that speaks for a chest.
        NotForPresentation: raw detector data.
    """
    sop_class, modality = UID(text(dataset, "SOPClassUID")), text(dataset, "Modality").upper()
    _check_sop_class(sop_class)
    _check_modality(modality)
    _check_body_part(dataset)
    intent = text(dataset, "PresentationIntentType").upper()
    if sop_class == _FOR_PROCESSING_CLASS or intent == "FOR PROCESSING":
        raise NotForPresentation(
            "the image is FOR PROCESSING: raw detector data, whose grey levels no network here was trained "
            "on. Send the image FOR PRESENTATION of the same exposure."
        )
    known = sop_class in _RADIOGRAPHY_CLASSES or modality in _RADIOGRAPHY_MODALITIES
    if not known and not _speaks_for_chest(dataset):
        raise NotAChestRadiograph(
            "neither SOP class nor Modality say that this is a radiograph, and no body part says chest. Send "
            "the original CR or DX image, or the picture alone as PNG."
        )


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


def _check_body_part(dataset: Dataset) -> None:
    words = _body_part_words(dataset)
    others = words & _OTHER_WORDS
    if others and not words & _CHEST_WORDS:
        raise NotAChestRadiograph(
            f"BodyPartExamined is {min(others)}; the chest was expected. Send a chest radiograph."
        )
    region = _region_code(dataset)
    if region in _OTHER_REGIONS and not words & _CHEST_WORDS:
        raise NotAChestRadiograph(
            f"the anatomic region is {_OTHER_REGIONS[region]} ({region}); the chest was expected. "
            "Send a chest radiograph."
        )


def _speaks_for_chest(dataset: Dataset) -> bool:
    return bool(_body_part_words(dataset) & _CHEST_WORDS) or _region_code(dataset) in _CHEST_REGIONS


def _body_part_words(dataset: Dataset) -> frozenset[str]:
    """Body Part Examined in capitals: word by word, and all letters together ("C SPINE", "L-SPINE")."""
    words = re.findall(r"[A-Z]+", text(dataset, "BodyPartExamined").upper())
    return frozenset((*words, "".join(words)))


def _region_code(dataset: Dataset) -> str:
    if "AnatomicRegionSequence" not in dataset:
        return ""
    items = dataset["AnatomicRegionSequence"].value
    return text(items[0], "CodeValue") if items else ""
