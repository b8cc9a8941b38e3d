"""A header's values, cleaned: what a result takes over from an image, and nothing that is not well formed.

What does not keep its value representation (PS3.5 6.2) is left out. Text that is longer than its
representation allows is repeated word for word, as a PACS does: a shortened identifier is another order's or
another patient's. The same function cleans in the worker, which reads the hostile file, and again in the
service, which trusts no worker.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.imaging.dicom.luts import sound_lut
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS

_CODE: Final[dict[str, Any]] = dict.fromkeys(
    ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
)
_REQUEST: Final[dict[str, Any]] = {
    **dict.fromkeys(("AccessionNumber", "StudyInstanceUID", "RequestedProcedureID")),
    **dict.fromkeys(("RequestedProcedureDescription", "ScheduledProcedureStepID")),
    "RequestedProcedureCodeSequence": _CODE,
}
_LUT: Final[dict[str, Any]] = {"LUTExplanation": None}  # and what `luts` keeps
_MODALITY_LUT: Final[dict[str, Any]] = {**_LUT, "ModalityLUTType": None}
# What a result needs; a sequence names what its items keep.
RESULT_ELEMENTS: Final[dict[str, Any]] = {
    **dict.fromkeys(
        (
            "TimezoneOffsetFromUTC",
            # Patient, Patient Study (PS3.3 C.7.1.1, C.7.2.2)
            "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
            # General Study (C.7.2.1)
            "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
            "ReferringPhysicianName",
            # General Series, General Equipment (C.7.3.1, C.7.5.1)
            "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "Laterality",
            "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber",
            "SoftwareVersions", "StationName", "InstitutionName",
            # General Image, CR and DX Image (C.7.6.1, C.8.1.2, C.8.11)
            "InstanceNumber", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime",
            "PatientOrientation", "ImageLaterality", "ViewPosition", "PresentationIntentType",
            "BurnedInAnnotation",
            # Image Pixel and what a presentation state repeats (C.7.6.3, C.11.1, C.11.2)
            "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored",
            "PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
            "PresentationLUTShape", "RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter",
            "WindowWidth", "VOILUTFunction",
            # SOP Common (C.12.1)
            "SOPClassUID", "SOPInstanceUID",
        )
    ),
    "ProcedureCodeSequence": _CODE,
    "RequestAttributesSequence": _REQUEST,
    "ModalityLUTSequence": _MODALITY_LUT,
    "VOILUTSequence": _LUT,
}  # fmt: skip

_CODE_NEEDS: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_MAX_ITEMS: Final = 8  # of a sequence
_MAX_VALUES: Final = 8  # of an element
_TEXTS: Final = ("AE", "LO", "SH", "LT", "ST", "UC", "UT")
_MAX_TERM: Final = 16  # of a character set
MAX_TEXT: Final = 1024  # characters; longer text is left out
_MAX_UID: Final = 64
_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{1,16}", re.ASCII)
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d", re.ASCII)
_FORMS: Final = {"TimezoneOffsetFromUTC": "UTC offset"}  # stricter than their value representation
_AGE: Final = re.compile(r"\d{3}[DWMY]", re.ASCII)
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", re.ASCII)


def cleaned(dataset: Dataset, elements: dict[str, Any] = RESULT_ELEMENTS) -> Dataset:
    """A new data set with the named `elements` that are well formed. Never raises for a value."""
    clean = Dataset()
    for keyword, inner in elements.items():
        with suppress(*FOREIGN_ERRORS):
            if keyword not in dataset:
                continue
            value = dataset[keyword].value
            if inner is None and dictionary_VM(keyword) == "1" and isinstance(value, MultiValue):
                value = value[0]
            if inner is not None:
                setattr(clean, keyword, _items(value, inner))
            elif (values := _values(_FORMS.get(keyword) or dictionary_VR(keyword), value)) is not None:
                setattr(clean, keyword, values)
    return clean


def _items(value: Iterable[Dataset], elements: dict[str, Any]) -> list[Dataset]:
    if elements is _LUT or elements is _MODALITY_LUT:
        if (lut := sound_lut(value)) is None:
            return []
        item, table = lut
        table.update(cleaned(item, elements))
        return [table]
    items = [cleaned(item, elements) for item, _ in zip(value, range(_MAX_ITEMS), strict=False)]
    if elements is _CODE:  # PS3.3 8: a code without one of these three is none
        return [item for item in items if all(item.get(keyword) for keyword in _CODE_NEEDS)]
    return [item for item in items if len(item)]


def _values(vr: str, value: Any) -> Any:
    """The element's well-formed values, None where nothing is left; "" stays where it was empty."""
    if value is None or (isinstance(value, str) and not value):
        return "" if vr in ("PN", "LO", "SH", "DA", "TM", "CS") else None
    clean = _CLEANERS[vr]
    if not isinstance(value, MultiValue | list | tuple):
        return clean(vr, value)
    values = [clean(vr, item) for item in value[:_MAX_VALUES]]
    # A value left out would move the others to other places.
    return values if all(item is not None for item in values) else None


def _text(vr: str, value: Any) -> str | None:
    if len(value := str(value)) > MAX_TEXT:
        return None
    plain = "".join(c if c.isprintable() else " " for c in value)
    return plain.replace("\\", " ").strip() or None


def _person_name(vr: str, value: Any) -> str | None:
    groups = str(value).split("=")[:3]  # PS3.5 6.2.1: alphabetic, ideographic, phonetic
    if any(len(group) > MAX_TEXT for group in groups):
        return None
    name = "=".join(_text(vr, group) or "" for group in groups).rstrip("=")
    return name or None


def _code_string(vr: str, value: Any) -> str | None:
    text = str(value)[:64].strip().upper()
    return text if _CODE_STRING.fullmatch(text) else None


def _date(vr: str, value: Any) -> str | None:
    text = str(value)[:10].strip().replace(".", "")  # ACR-NEMA wrote 1993.08.22
    with suppress(ValueError):
        return datetime.datetime.strptime(text, "%Y%m%d").strftime("%Y%m%d") if len(text) == 8 else None
    return None


def _time(vr: str, value: Any) -> str | None:
    text = str(value)[:16].strip().replace(":", "")  # ACR-NEMA wrote 12:00:00
    return text if _TIME.fullmatch(text) else None


def _offset(vr: str, value: Any) -> str | None:
    text = str(value)[:8].strip()
    return text if _OFFSET.fullmatch(text) else None


def _age(vr: str, value: Any) -> str | None:
    text = str(value)[:8].strip()
    return text if _AGE.fullmatch(text) else None


def _uid(vr: str, value: Any) -> UID | None:
    text = str(value)[: _MAX_UID + 1].strip("\0 ")
    return UID(text) if is_uid(text) else None


def _decimal(vr: str, value: Any) -> str | None:
    number = float(value)
    return f"{number:.10g}" if math.isfinite(number) and len(f"{number:.10g}") <= 16 else None


def _integer(vr: str, value: Any) -> int | None:
    number = int(value)
    return number if -(2**31) <= number < 2**31 else None


def _unsigned(vr: str, value: Any) -> int | None:
    number = int(value)
    return number if 0 <= number < 2**16 else None


_CLEANERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    **dict.fromkeys(_TEXTS, _text),
    "PN": _person_name,
    "CS": _code_string,
    "DA": _date,
    "TM": _time,
    "AS": _age,
    "UTC offset": _offset,
    "UI": _uid,
    "DS": _decimal,
    "IS": _integer,
    "US": _unsigned,
}


def character_set(dataset: Dataset) -> tuple[str, ...]:
    """The Specific Character Set that `dataset` declares, () where it declares none that is known."""
    if "SpecificCharacterSet" not in dataset:
        return ()
    value = dataset["SpecificCharacterSet"].value
    values = value if isinstance(value, MultiValue | list | tuple) else (value,)
    terms = tuple(str(term or "")[:_MAX_TERM].strip() for term in values[:_MAX_VALUES])
    return terms if any(terms) and all(term in python_encoding for term in terms) else ()
