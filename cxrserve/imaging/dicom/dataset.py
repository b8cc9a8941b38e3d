"""Bytes to elements: a DICOM file in any of its encodings, with only the elements that are needed.

pydicom reads the elements; this file decides where they begin and how they are written, so that a lying
header, a bomb or a cut ends in one of our errors and not in a guess.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from cxrserve.errors import TooLarge, UnreadableImage
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.sniff import dicom_start

_PIXEL_DATA: Final = 0x7FE00010
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)  # PS3.3 C.9.2
_KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "Modality", "PresentationIntentType", "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition",
    "StudyDescription", "SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "FloatPixelData", "DoubleFloatPixelData", "PixelData",
)  # fmt: skip
_LONG_VRS: Final = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_VRS: Final = frozenset(vr.encode() for vr in STANDARD_VR)
_MEDIA_STORAGE_SOP_CLASS: Final = 0x0002  # (0002,0002)
TRANSFER_SYNTAX: Final = 0x0010  # (0002,0010)


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFile:
    """A parsed file. `transfer_syntax` is the declared one, or the one found where none is declared."""

    dataset: Dataset
    transfer_syntax: UID
    big_endian: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSetBytes:
    """A data set before its elements are read: `data` from `start` on, and how it is written."""

    data: bytes
    start: int
    implicit: bool
    little: bool
    transfer_syntax: UID
    media_storage_class: UID | None
    warnings: tuple[str, ...]


def parse(data: bytes, limits: Limits) -> DicomFile:
    """The elements of `data` up to Pixel Data. To be called within `border.reading`.

    Raises:
        UnreadableImage: cut, damaged, or an element stands there twice.
        TooLarge: a deflated data set unfolds beyond `limits.max_inflated_bytes`.
    """
    opened = open_data_set(data, limits)
    elements = _read_elements(opened)
    dataset = Dataset(elements)
    if "SOPClassUID" not in dataset and opened.media_storage_class:  # a DICOMDIR has it there only
        dataset.SOPClassUID = opened.media_storage_class
    return DicomFile(
        dataset=dataset,
        transfer_syntax=opened.transfer_syntax,
        big_endian=not opened.little,
        warnings=opened.warnings,
    )


def open_data_set(data: bytes, limits: Limits) -> DataSetBytes:
    """Where the data set of a file begins, and how it is written; no element is read yet.

    Raises:
        UnreadableImage: no DICOM, or cut or damaged before its first element.
        TooLarge: a deflated data set unfolds beyond `limits.max_inflated_bytes`.
    """
    meta, start = read_meta(data)
    declared = meta.get(TRANSFER_SYNTAX)
    if declared == DeflatedExplicitVRLittleEndian:
        data, start = _inflate(data[start:], limits.max_inflated_bytes), 0
    written, warnings = _encoding(data[start : start + 8], declared)
    return DataSetBytes(
        data=data,
        start=start,
        implicit=written == ImplicitVRLittleEndian,
        little=written != ExplicitVRBigEndian,
        transfer_syntax=declared or written,
        media_storage_class=meta.get(_MEDIA_STORAGE_SOP_CLASS),
        warnings=warnings,
    )


def read_meta(data: bytes) -> tuple[dict[int, UID], int]:
    """The UIDs of the meta information, by element number, and where the data set begins.

    Raises:
        UnreadableImage: no DICOM, or cut or damaged within its meta information.
    """
    position = dicom_start(data)
    if position is None:
        raise UnreadableImage("no DICOM element stands at the beginning. Send a DICOM file.")
    uids: dict[int, UID] = {}
    while data[position : position + 2] == b"\x02\0":  # explicit VR little endian: PS3.10 7.1
        try:
            _, element, vr, length = struct.unpack_from("<HH2sH", data, position)
            position += 8
            if vr in _LONG_VRS:
                (length,) = struct.unpack_from("<I", data, position)
                position += 4
        except struct.error as exc:
            raise UnreadableImage("the file ends inside its meta information: it is truncated.") from exc
        if vr not in _VRS or position + length > len(data):
            raise UnreadableImage("the file's meta information (group 0002) is damaged. Send the file again.")
        value = data[position : position + length].strip(b"\0 ")
        if vr == b"UI" and value:
            uids[element] = UID(value.decode("ascii", "replace"), IGNORE)  # else it logs what is no UID
        position += length
    return uids, position


def _inflate(deflated: bytes, most: int) -> bytes:
    """The data set of PS3.5 A.5, at most `most` bytes of it in memory."""
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = stream.decompress(deflated, most + 1)
    if len(inflated) > most:
        raise TooLarge(f"the deflated data set unfolds to more than {most} bytes. Send it uncompressed.")
    if not stream.eof:
        raise UnreadableImage(
            "the deflated data set ends before its end: it is truncated. Send the file again."
        )
    return inflated


def _encoding(first: bytes, declared: UID | None) -> tuple[UID, tuple[str, ...]]:
    """How the elements are written, and a warning where that is not what the file says."""
    if len(first) < 8:
        raise UnreadableImage("the file ends before its first element: it is truncated.")
    if declared == ExplicitVRBigEndian or (declared is None and first[0] == 0):
        return ExplicitVRBigEndian, ()
    found = ExplicitVRLittleEndian if first[4:6] in _VRS else ImplicitVRLittleEndian
    if declared is None:
        return found, (f"The file does not declare its transfer syntax; it was read as {found.name}.",)
    if (declared == ImplicitVRLittleEndian) == (found == ImplicitVRLittleEndian):
        return found, ()
    return found, (f"The file is written in {found.name}, which is not what it declares.",)


def _read_elements(opened: DataSetBytes) -> dict[BaseTag, Any]:
    stream = BytesIO(opened.data)
    stream.seek(opened.start)
    elements: dict[BaseTag, RawDataElement | DataElement] = {}
    wanted: list[BaseTag | int] = list(_wanted_tags())
    for element in data_element_generator(stream, opened.implicit, opened.little, specific_tags=wanted):
        tag = element.tag
        if elements.get(tag, element).value != element.value:  # PS3.5 7.1: at most once
            raise UnreadableImage(
                f"the element {tag} stands there twice with different values. Send a sound file."
            )
        elements[tag] = element
        if tag == _PIXEL_DATA:  # what follows is padding, signatures or another file
            break
    return elements


def _wanted_tags() -> Iterable[int]:
    yield from (tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)
    for group in _OVERLAY_GROUPS:
        yield from (group << 16 | 0x0100, group << 16 | 0x0102)


def embedded_overlays(dataset: Dataset) -> bool:
    """True if an overlay sits in unused high bits of Pixel Data: retired, still sent. PS3.5 8.1.2."""
    return any(dataset[tag].value for tag in _overlay_bit_positions() if tag in dataset)


def _overlay_bit_positions() -> Iterable[int]:
    return (group << 16 | 0x0102 for group in _OVERLAY_GROUPS)


def text(dataset: Dataset, keyword: str) -> str:
    """The element's (first) value as text, "" where it is absent, empty or no text."""
    value = _first(dataset, keyword)
    return value.strip("\0 ") if isinstance(value, str) else ""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of the element that are text."""
    value = dataset[keyword].value if keyword in dataset else None
    values = value if isinstance(value, MultiValue | list | tuple) else (value,)
    return tuple(each for each in values if isinstance(each, str))


def number(dataset: Dataset, keyword: str, index: int = 0) -> float | None:
    """The element's value at `index` as a number, None where there is none."""
    value = _first(dataset, keyword, index)
    try:
        return None if value is None or isinstance(value, bytes) else float(value)
    except (TypeError, ValueError):
        return None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The element's value as a whole number, None where it is absent or empty.

    Raises:
        UnreadableImage: it holds something else, or several values.
    """
    if keyword not in dataset or dataset[keyword].is_empty:
        return None
    if dataset[keyword].VM == 1:
        value = number(dataset, keyword)
        if value is not None and value.is_integer():
            return int(value)
    raise UnreadableImage(f"{keyword} holds no single whole number. Send a file with a sound header.")


def _first(dataset: Dataset, keyword: str, index: int = 0) -> Any:
    if keyword not in dataset:
        return None
    value = dataset[keyword].value
    if isinstance(value, MultiValue | list | tuple):
        return value[index] if index < len(value) else None
    return value if index == 0 else None
