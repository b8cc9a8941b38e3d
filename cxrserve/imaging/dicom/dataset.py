"""Bytes to elements: a DICOM file in any of its encodings, with only the elements that are needed.

pydicom reads the elements; this file decides where they begin and how they are written, so that a lying
header, a bomb or a cut ends in one of our errors and not in a guess.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom.charset import convert_encodings, default_encoding
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
from cxrserve.imaging.dicom.walk import twice, walk
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.sniff import dicom_start
from cxrserve.warnings import ImageWarning, WarningCode

_PIXEL_DATA: Final = 0x7FE00010
MAX_HEADER_BYTES: Final = 16 * 2**20  # before Pixel Data; radiographs have some kB, with overlays some MB
_MAX_ELEMENTS: Final = 400_000  # pydicom takes some 14 µs and 1 kB for each
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_SEQUENCE_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)  # PS3.3 C.9.2
_KEYWORDS: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "SpecificCharacterSet", "Modality", "PresentationIntentType", "ViewPosition",
    "BodyPartExamined", "AnatomicRegionSequence",
    "StudyDescription", "SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PatientOrientation", "PresentationLUTShape", "RescaleIntercept", "RescaleSlope",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence",
    "PixelPaddingValue", "PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "FloatPixelData", "DoubleFloatPixelData", "PixelData",
)  # fmt: skip
_PIECE_BYTES: Final = 2**20
_NOT_INFLATED: Final = (
    "the file declares a deflated data set, but its data cannot be inflated: they are damaged, or not "
    "deflated. Send it in Explicit VR Little Endian."
)
_TRUNCATED: Final = "the deflated data set ends before its end: it is truncated. Send the file again."
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
    warnings: tuple[ImageWarning, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSetBytes:
    """A data set before its elements are read: `data` from `start` on, and how it is written."""

    data: bytes
    start: int
    implicit: bool
    little: bool
    transfer_syntax: UID
    media_storage_class: UID | None
    warnings: tuple[ImageWarning, ...]


def parse(data: bytes, limits: Limits) -> DicomFile:
    """The elements of `data` up to Pixel Data. To be called within `foreign_errors.reading`.

    Raises:
        UnreadableImage: cut, damaged, or an element stands there twice.
        TooLarge: a deflated data set unfolds beyond `limits.max_inflated_bytes`.
    """
    opened = open_data_set(data, limits)
    elements, warnings = _read_elements(opened)
    dataset = Dataset(elements)
    encodings = character_encodings(dataset)
    dataset.set_original_encoding(opened.implicit, opened.little, encodings)
    if "SOPClassUID" not in dataset and opened.media_storage_class:  # a DICOMDIR has it there only
        dataset.SOPClassUID = opened.media_storage_class
    return DicomFile(
        dataset=dataset,
        transfer_syntax=opened.transfer_syntax,
        big_endian=not opened.little,
        warnings=opened.warnings + warnings,
    )


def character_encodings(dataset: Dataset) -> list[str]:
    """Python's names of the character sets of `dataset`: those that it declares, where they are known."""
    element = dataset.get_item("SpecificCharacterSet")
    value = element.value if element is not None else None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    terms = text.split("\\") if isinstance(text, str) else list(text or ())
    with suppress(*FOREIGN_ERRORS):
        return list(convert_encodings([str(term).strip("\0 ") for term in terms] or [""]))
    return [default_encoding]


def open_data_set(data: bytes, limits: Limits, *, header_only: bool = False) -> DataSetBytes:
    """Find the start and encoding of a file's data set, without reading an element.

    Args:
        header_only: inflate no more than `MAX_HEADER_BYTES` of a deflated data set.

    Raises:
        UnreadableImage: no DICOM, or cut or damaged before its first element.
        TooLarge: a deflated data set unfolds beyond `limits.max_inflated_bytes`.
    """
    meta, start = read_meta(data)
    declared = meta.get(TRANSFER_SYNTAX)
    is_deflated = declared == DeflatedExplicitVRLittleEndian and not is_plain(data[start : start + 8])
    if is_deflated:
        inflate = _inflate_header if header_only else _inflate
        data, start = inflate(data[start:], limits.max_inflated_bytes), 0
    written, warnings = _encoding(data[start : start + 8], declared)
    if declared == DeflatedExplicitVRLittleEndian and not is_deflated:
        warnings += _syntax_warning("declares that it is deflated, but it is not; it was read as it is")
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
        UnreadableImage: no DICOM, or cut or damaged within its meta information, or a UID stands there twice
            with different values.
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
            uid = UID(value.decode("ascii", "replace"), IGNORE)  # else it logs what is no UID
            if uids.setdefault(element, uid) != uid:
                raise twice(0x00020000 | element)
        position += length
    return uids, position


def _inflate(deflated: bytes, max_bytes: int) -> bytes:
    """The data set of PS3.5 A.5, at most `max_bytes` of it in memory."""
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(deflated, max_bytes + 1)
    except zlib.error as exc:
        raise UnreadableImage(_NOT_INFLATED) from exc
    if len(inflated) > max_bytes:
        raise TooLarge(f"the deflated data set unfolds to more than {max_bytes} bytes. Send it uncompressed.")
    if not stream.eof:
        raise UnreadableImage(_TRUNCATED)
    return inflated


def _inflate_header(deflated: bytes, max_bytes: int) -> bytes:
    """The first bytes of the data set."""
    try:
        return zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(
            deflated, min(MAX_HEADER_BYTES, max_bytes)
        )
    except zlib.error as exc:
        raise UnreadableImage(_NOT_INFLATED) from exc


def inflated_pieces(deflated: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """The inflated data set in pieces, up to `max_bytes` of it; then the rest as it is, deflated.

    Raises:
        UnreadableImage: the data are damaged or cut.
    """
    stream, left = zlib.decompressobj(wbits=-zlib.MAX_WBITS), max_bytes
    for piece in deflated:
        rest, has_more = piece, True
        while has_more and left > 0 and not stream.eof:
            count = min(left, _PIECE_BYTES)
            try:
                inflated = stream.decompress(rest, count)
            except zlib.error as exc:
                raise UnreadableImage(_NOT_INFLATED) from exc
            left -= len(inflated)
            rest = stream.unconsumed_tail
            has_more = bool(rest) or len(inflated) == count
            yield inflated
        if rest and left <= 0:
            yield rest
    if left > 0 and not stream.eof:
        raise UnreadableImage(_TRUNCATED)


def is_plain(first: bytes) -> bool:
    """Whether a data set that is not deflated begins so: an element of group 0008.

    No deflated stream does: its first byte would announce a stored block whose two lengths do not agree.
    """
    return first[:2] == b"\x08\0" and first[3:4] == b"\0"


def _encoding(first: bytes, declared: UID | None) -> tuple[UID, tuple[ImageWarning, ...]]:
    """The transfer syntax of the elements, and a warning where that is not what the file says."""
    if len(first) < 8:
        raise UnreadableImage("the file ends before its first element: it is truncated.")
    if declared == ExplicitVRBigEndian or (declared is None and first[0] == 0):
        return ExplicitVRBigEndian, ()
    syntax = ExplicitVRLittleEndian if first[4:6] in _VRS else ImplicitVRLittleEndian
    if declared is None:
        return syntax, _syntax_warning(f"does not declare its transfer syntax; it was read as {syntax.name}")
    if (declared == ImplicitVRLittleEndian) == (syntax == ImplicitVRLittleEndian):
        return syntax, ()
    return syntax, _syntax_warning(f"is written in {syntax.name}, which is not what it declares")


def _syntax_warning(predicate: str) -> tuple[ImageWarning, ...]:
    return (ImageWarning(code=WarningCode.TRANSFER_SYNTAX, message=f"The file {predicate}."),)


def _read_elements(opened: DataSetBytes) -> tuple[dict[BaseTag, Any], tuple[ImageWarning, ...]]:
    """The wanted elements up to Pixel Data, and a warning where the end of these is damaged."""
    with suppress(EOFError):  # pydicom says below what is cut
        for _ in walk(
            opened.data,
            opened.start,
            implicit=opened.implicit,
            little=opened.little,
            stop_at=_PIXEL_DATA,
            max_elements=_MAX_ELEMENTS,
        ):
            pass  # bounds what pydicom is about to build
    stream = BytesIO(opened.data)
    stream.seek(opened.start)
    tags: list[BaseTag | int] = list(_wanted_tags())
    elements = unrepeated(
        data_element_generator(
            stream,
            opened.implicit,
            opened.little,
            stop_when=lambda tag, vr, length: tag == _PIXEL_DATA,
            specific_tags=tags,
        )
    )
    warnings: tuple[ImageWarning, ...] = ()
    if stream.tell() + 8 <= len(
        opened.data
    ):  # what follows Pixel Data is padding, signatures or another file
        elements[BaseTag(_PIXEL_DATA)], warnings = _pixel_data(opened, stream.tell())
    return elements, warnings


def unrepeated(
    elements: Iterable[RawDataElement | DataElement],
) -> dict[BaseTag, RawDataElement | DataElement]:
    """Elements that pydicom has read, by tag.

    Raises:
        UnreadableImage: one stands there twice with different values (PS3.5 7.1: at most once).
    """
    found: dict[BaseTag, RawDataElement | DataElement] = {}
    for element in elements:
        before = found.setdefault(element.tag, element)
        if before is not element and (before.VR, before.value) != (element.VR, element.value):
            raise twice(element.tag)
    return found


def _pixel_data(opened: DataSetBytes, position: int) -> tuple[RawDataElement, tuple[ImageWarning, ...]]:
    """Pixel Data, which begin at `position`. Fragments may lack the delimiter after the last one.

    Raises:
        UnreadableImage: the data end inside a fragment.
    """
    data, order = opened.data, "<" if opened.little else ">"
    vr = data[position + 4 : position + 6]
    implicit = opened.implicit or vr not in _VRS
    try:
        if implicit:
            (length,) = struct.unpack_from(f"{order}L", data, position + 4)
            start = position + 8
        elif vr in _LONG_VRS:
            (length,) = struct.unpack_from(f"{order}L", data, position + 8)
            start = position + 12
        else:
            (length,) = struct.unpack_from(f"{order}H", data, position + 6)
            start = position + 8
    except struct.error as exc:
        raise UnreadableImage("the file ends inside its pixel data: it is truncated. Send it again.") from exc
    end = start + length
    warnings: tuple[ImageWarning, ...] = ()
    if length == _UNDEFINED:
        end, warnings = _fragments_end(data, start)
    # A view of native pixels, which may be many; only numpy looks at them.
    value: Any = data[start:end] if length == _UNDEFINED else memoryview(data)[start:end]
    element = RawDataElement(
        BaseTag(_PIXEL_DATA),
        None if implicit else vr.decode("ascii"),
        length,
        value,
        start,
        implicit,
        opened.little,
    )
    return element, warnings


def _fragments_end(data: bytes, position: int) -> tuple[int, tuple[ImageWarning, ...]]:
    """The end of the fragments of encapsulated pixel data: PS3.5 A.4."""
    while data[position : position + 4] == _ITEM:
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        if end > len(data):
            raise UnreadableImage(
                "the file ends inside a fragment of its pixel data: it is truncated. Send it again."
            )
        position = end
    if data[position : position + 4] == _SEQUENCE_DELIMITER:
        return position, ()
    message = "The pixel data lack the delimiter after their last fragment; the fragments were read."
    return position, (ImageWarning(code=WarningCode.REPAIRED, message=message),)


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
    return tuple(text for text in values if isinstance(text, str))


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
