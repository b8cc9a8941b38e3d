"""Attributes common to all results: patient and study, device, times, and the encoded file.

highdicom builds each kind of object. Common attributes are set here afterwards, because highdicom writes the
time of day and its own name, and the same work must give the same bytes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from copy import deepcopy
from io import BytesIO
from typing import Any, Final

from highdicom import ContributingEquipment
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrserve.bundle.contract import Bundle
from cxrserve.reports.dicom.elements import text_element, with_element
from cxrserve.reports.dicom.identity import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    MANUFACTURER,
    PENDING_UID,
    device_uid,
    object_uid,
    series_uid,
    software_versions,
)
from cxrserve.reports.dicom.objects import DicomObject, ObjectKind
from cxrserve.reports.dicom.source import Source

# Above what modalities number their series with, so that results stand below the images.
_SERIES: Final[dict[ObjectKind, tuple[int, str]]] = {
    "report": (9901, "cxrserve report (research use only)"),
    "overlay": (9902, "cxrserve overlay (research use only)"),
    "presentation-state": (9903, "cxrserve contours (research use only)"),
    "segmentation": (9904, "cxrserve regions (research use only)"),
}
# Type 2 in Patient and General Study (PS3.3 C.7.1.1, C.7.2.1): there, if empty.
_ALWAYS: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_WHERE_GIVEN: Final = (
    *("IssuerOfPatientID", "PatientAge", "StudyDescription", "TimezoneOffsetFromUTC"),
    "ProcedureCodeSequence",
)
_SINGLE_FRAME_CLASSES: Final = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, For Presentation
        "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    )
)
_SEXES: Final = ("M", "F", "O")
_GROUP_LENGTH: Final = (
    140,
    144,
)  # of the meta information: behind preamble, prefix, tag, VR and length (PS3.10 7.1)
_TIMES: Final = (
    ("InstanceCreationDate", "InstanceCreationTime"),
    ("ContentDate", "ContentTime"),
    ("PresentationCreationDate", "PresentationCreationTime"),
    ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)


def referable(source: Source) -> Dataset:
    """The source's header with every element that highdicom reads from an image."""
    image = deepcopy(source.header)  # setting an element changes it where it is shared
    for keyword in _ALWAYS:
        if keyword not in image:
            setattr(image, keyword, None)
    image.PatientName = image.ReferringPhysicianName = None  # highdicom checks names: `finished` sets them
    if image.PatientSex not in _SEXES:
        image.PatientSex = None
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = numbers(image.get(keyword))
        if len(spacing) != 2 or min(spacing) <= 0:
            image.pop(keyword, None)
    image.SamplesPerPixel = image.get("SamplesPerPixel") or 1
    return image


def takes_annotations(image: Dataset) -> bool:
    """True for one grey frame of a class that presentation states and segmentations know how to refer to."""
    return image.SOPClassUID in _SINGLE_FRAME_CLASSES and image.SamplesPerPixel == 1


def numbers(value: Any) -> list[float]:
    """An element's values, however many it has."""
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [float(item) for item in values if item not in (None, "")]


def series_arguments(
    kind: ObjectKind, source: Source, bundle: Bundle, when: datetime.datetime
) -> dict[str, Any]:
    """Arguments of highdicom's constructors for series and equipment."""
    number, description = _SERIES[kind]
    return {
        "sop_instance_uid": PENDING_UID,
        "series_instance_uid": series_uid(kind, bundle, source.study_instance_uid),
        "series_number": number,
        "series_description": description,
        "instance_number": int(source.header.get("InstanceNumber") or 0) % 10**6 or 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": bundle.contract.name[:64],
        "software_versions": software_versions(bundle),
        "device_serial_number": bundle.sha256,
        "specific_character_set": None,
    }


def finished(
    instance: Dataset,
    kind: ObjectKind,
    source: Source,
    bundle: Bundle,
    when: datetime.datetime,
    transfer_syntax: str = ExplicitVRLittleEndian,
    *,
    encoded: Mapping[int, bytes] | None = None,
) -> DicomObject:
    """Complete `instance` and encode it. Its SOP Instance UID is a hash of its other bytes.

    Args:
        encoded: more of its elements by tag, encoded already.
    """
    _place_in_study(instance, source)
    _sign(instance, bundle, _local(when, source))
    instance.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    instance.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    instance.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    part10, sop_instance_uid = _with_own_uid(instance, encoded or {})
    return DicomObject(
        kind=kind,
        sop_class_uid=str(instance.SOPClassUID),
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=str(instance.SeriesInstanceUID),
        part10=part10,
    )


def moved(instance: Dataset, source: Source) -> bytes:
    """A finished result under the patient and the study of `source`, with a UID of its own."""
    for keyword in _WHERE_GIVEN:
        if keyword in instance and keyword not in source.header:
            delattr(instance, keyword)
    _place_in_study(instance, source)
    return _with_own_uid(instance, {})[0]


def _with_own_uid(instance: Dataset, encoded: Mapping[int, bytes]) -> tuple[bytes, str]:
    """Encode `instance` under a UID made from its other bytes; its file and this UID."""
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = UID(PENDING_UID)
    part10 = _part10(instance)
    for tag, element in encoded.items():
        part10 = with_element(part10, tag, element)
    sop_instance_uid = object_uid(part10)
    return with_sop_instance_uid(part10, PENDING_UID, sop_instance_uid), sop_instance_uid


def with_sop_instance_uid(part10: bytes, old: str, new: str) -> bytes:
    """`part10` with the SOP Instance UID `new` in the place of `old`, without encoding it again.

    Encoding a report takes tens of milliseconds. Its bytes are those that encoding it again would give: the
    UID stands in the meta information and at the start of the data set, and the group length of the meta
    information follows it.
    """
    for tag in (0x0002_0003, 0x0008_0018):  # Media Storage SOP Instance UID, SOP Instance UID
        part10 = part10.replace(text_element(tag, "UI", old), text_element(tag, "UI", new), 1)
    grown = len(text_element(0, "UI", new)) - len(text_element(0, "UI", old))
    start, end = _GROUP_LENGTH
    length = int.from_bytes(part10[start:end], "little") + grown
    return part10[:start] + length.to_bytes(4, "little") + part10[end:]


def _part10(instance: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, instance, enforce_file_format=True)
    return file.getvalue()


def _local(when: datetime.datetime, source: Source) -> datetime.datetime:
    """`when` in the time zone of the image: the offset in its header, else this machine's."""
    offset = str(source.header.get("TimezoneOffsetFromUTC") or "")
    if when.tzinfo is None:
        return when
    try:
        return when.astimezone(datetime.datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return when.astimezone()


def _place_in_study(instance: Dataset, source: Source) -> None:
    """Patient and study word for word, in the character set of the image: ours is ASCII."""
    character_set = source.character_set
    if character_set:
        instance.SpecificCharacterSet = list(character_set) if len(character_set) > 1 else character_set[0]
    elif "SpecificCharacterSet" in instance:
        del instance.SpecificCharacterSet
    instance.StudyInstanceUID = source.study_instance_uid
    for keyword in _ALWAYS:
        setattr(instance, keyword, source.header.get(keyword))
    for keyword in _WHERE_GIVEN:
        if keyword in source.header:
            setattr(instance, keyword, source.header[keyword].value)


def _sign(instance: Dataset, bundle: Bundle, when: datetime.datetime) -> None:
    """Set the device and the times. IHE AIR: the same values here and in the report's content."""
    instance.DeviceUID = device_uid(bundle)
    equipment = ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=bundle.contract.name[:64],
        software_versions=software_versions(bundle),
        device_serial_number=bundle.sha256,
        contribution_datetime=when.strftime("%Y%m%d%H%M%S"),
        contribution_description="Research use only, not for diagnosis: findings and heatmaps by networks",
    )
    equipment.DeviceUID = device_uid(bundle)
    instance.ContributingEquipmentSequence = [equipment]
    for date, time in _TIMES:
        if date in instance:
            setattr(instance, date, when.strftime("%Y%m%d"))
            setattr(instance, time, when.strftime("%H%M%S"))
