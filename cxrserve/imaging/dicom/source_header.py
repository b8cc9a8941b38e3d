"""A DICOM file to the small header that its results need. Runs in a decode worker.

Pixels are not looked at: a film whose pixels are refused still gets a result that says so, if its UIDs can be
read. Whatever is wrong with a single element leaves that element out.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from pydicom import dcmread, dcmwrite
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.cleaning import MAX_TEXT, RESULT_ELEMENTS, character_set, cleaned
from cxrserve.imaging.dicom.dataset import DataSetBytes, open_data_set
from cxrserve.imaging.dicom.walk import Element, count_inside, once, walk
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS, reading
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.worker_response import MAX_HEADER_BYTES

_IMPLEMENTATION: Final = UID("2.25.22154387595639598516570461512055017007")
_PIXEL_DATA: Final = 0x7FE00010
_MAX_VALUE: Final = 16 * 2**10
_RESULT_TAGS: Final = {tag_for_keyword(keyword) for keyword in ("SpecificCharacterSet", *RESULT_ELEMENTS)}
_TABLES: Final = {tag_for_keyword(keyword) for keyword in ("ModalityLUTSequence", "VOILUTSequence")}
_MAX_TABLES: Final = 512 * 2**10  # several, of up to 128 kB; one is kept
_MAX_BUILT: Final = 1000  # elements and items; pydicom takes 50 µs and 2 kB for each, several times over
_ITEM, _ITEM_BIG_ENDIAN = b"\xfe\xff\0\xe0", b"\xff\xfe\xe0\0"
_NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_IDENTIFIERS: Final = ("PatientID", "AccessionNumber")
_UTF8: Final = "ISO_IR 192"


def source_header(data: bytes, limits: Limits | None = None) -> bytes:
    """The header of `data` as a Part 10 file of its own, explicit VR little endian, a few kB large.

    Patient, study, series, equipment and what places a result over the image; where the image is shown with
    look-up tables, these too, 128 kB each at the most. Every value is well formed, in the character set of
    the file, or in UTF-8 where that cannot hold them.

    Raises:
        UnreadableImage: no DICOM file, one of its four UIDs is missing or none, or an element that results
            need stands there twice with different values.
    """
    with reading("the DICOM header"):
        opened = open_data_set(data, limits or Limits(), header_only=True)
        elements = _elements(opened, _RESULT_TAGS)
        declared = character_set(Dataset(elements))
        header = Dataset(elements)
        header.set_original_encoding(opened.implicit, opened.little, _encodings(declared))
        if "SOPClassUID" not in header and opened.media_storage_class:
            header.SOPClassUID = opened.media_storage_class
        clean = cleaned(header)
        _check_identifiers(header, clean)
        return encoded(clean, declared)


def element_texts(
    data: bytes, keywords: Collection[str], limits: Limits | None = None
) -> dict[str, tuple[str, ...]]:
    """The values of elements before Pixel Data as text, as they stand in the file: not checked, not cleaned.

    Args:
        keywords: DICOM keywords; `Sequence.Keyword` for an element of the items of a sequence.

    Returns:
        by keyword; () where the element is missing, empty, a sequence, or cannot be read.

    Raises:
        UnreadableImage: no DICOM file, or one of the elements stands there twice with different values.
    """
    with reading("the DICOM header"):
        opened = open_data_set(data, limits or Limits(), header_only=True)
        tags = {tag_for_keyword(keyword.partition(".")[0]) for keyword in keywords}
        elements = _elements(opened, {*tags, tag_for_keyword("SpecificCharacterSet")})
        dataset = Dataset(elements)
        dataset.set_original_encoding(opened.implicit, opened.little, _encodings(character_set(dataset)))
        return {keyword: _texts_of(dataset, keyword) for keyword in keywords}


def _texts_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    name, _, rest = keyword.partition(".")
    with suppress(*FOREIGN_ERRORS):
        if name not in dataset:
            return ()
        value = dataset[name].value
        if rest:
            return tuple(text for item in value for text in _texts_of(item, rest))
        if isinstance(value, Sequence):  # no text of its own; pydicom makes one, in seconds if it is deep
            return ()
        values = value if isinstance(value, MultiValue | list | tuple) else [value]
        return tuple(text for entry in values if (text := str("" if entry is None else entry).strip("\0 ")))
    return ()


def _check_identifiers(header: Dataset, clean: Dataset) -> None:
    """Refuse an image whose identifiers a result could not repeat word for word.

    A result with a shortened identifier belongs to another patient or order.

    Raises:
        UnreadableImage: an identifier is too long, or has several values.
    """
    for keyword in _IDENTIFIERS:
        with suppress(*FOREIGN_ERRORS):
            value = header[keyword].value if keyword in header else None
            if isinstance(value, MultiValue) and len(value) > 1:
                raise UnreadableImage(
                    f"{keyword} has several values where one is allowed, so no result can repeat it. Correct "
                    "it at the sender: a backslash separates values."
                )
            if value and str(value).strip() and not clean.get(keyword):
                raise UnreadableImage(
                    f"{keyword} has more than {MAX_TEXT} characters, so no result can repeat it. Correct "
                    "it at the sender."
                )


def encoded(header: Dataset, declared: tuple[str, ...]) -> bytes:
    """`header`, cleaned, as a Part 10 file, in the character set `declared` if that holds all of it.

    Raises:
        UnreadableImage: a UID is missing, or it is too long.
    """
    missing = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if missing:
        raise UnreadableImage(
            f"{' and '.join(missing)} cannot be read, so no result can refer to this object: it is missing, "
            "or no UID of 1 to 64 digits and dots. Correct it at the sender."
        )
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.ImplementationClassUID = _IMPLEMENTATION
    file = _written(header, declared) or _written(header, (_UTF8,))
    if file is None or len(file) > MAX_HEADER_BYTES:
        raise UnreadableImage("the DICOM header cannot be written down again: its text is damaged.")
    return file


def _written(header: Dataset, character_set: tuple[str, ...]) -> bytes | None:
    """None where the text does not come back as it was: another character set than was declared."""
    if character_set:
        header.SpecificCharacterSet = list(character_set) if len(character_set) > 1 else character_set[0]
    else:
        header.pop("SpecificCharacterSet", None)
    file = BytesIO()
    with suppress(*FOREIGN_ERRORS):
        dcmwrite(file, header, enforce_file_format=True)
        back = cleaned(dcmread(BytesIO(file.getvalue())))
        if _texts(back) == _texts(header):
            return file.getvalue()
    return None


def _texts(header: Dataset) -> list[str]:
    return [
        str(element.value)
        for element in header
        if element.keyword != "SpecificCharacterSet" and element.VR != "SQ"
    ]


def _elements(opened: DataSetBytes, tags: Collection[int | None]) -> dict[BaseTag, Any]:
    """The elements before Pixel Data that can be read; a cut or damage further on ends the reading, no more.

    Raises:
        UnreadableImage: one of `tags` stands there twice with different values.
    """
    elements: dict[BaseTag, Any] = {}
    built = 0
    with suppress(*FOREIGN_ERRORS):
        found = walk(
            opened.data, opened.start, implicit=opened.implicit, little=opened.little, stop_at=_PIXEL_DATA
        )
        for element in once(opened.data, found, tags):
            max_length = _MAX_TABLES if element.tag in _TABLES else _MAX_VALUE
            if element.tag in tags and element.length <= max_length:
                count = _count(opened, element)
                if count == 1 or built + count <= _MAX_BUILT:  # else a sequence that is too long is left out
                    built += count
                    elements[BaseTag(element.tag)] = _raw(opened, element)
    return elements


def _count(opened: DataSetBytes, element: Element) -> int:
    """The number of elements that pydicom builds for one: 1, and all inside where it is a sequence."""
    if not _is_sequence(element.tag):
        return 1
    end = element.start + element.length
    item = _ITEM if opened.little else _ITEM_BIG_ENDIAN
    items = opened.data.count(item, element.start, end)
    if items > _MAX_BUILT:
        return items
    try:
        return count_inside(
            opened.data,
            element.start,
            end,
            implicit=opened.implicit,
            little=opened.little,
            is_sequence=_is_sequence,
        )
    except UnreadableImage:
        return _MAX_BUILT + 1
    except EOFError:  # a damaged one; pydicom stops there too
        return items


def _is_sequence(tag: int) -> bool:
    with suppress(KeyError):
        return dictionary_VR(tag) == "SQ"
    return False


def _raw(opened: DataSetBytes, element: Element) -> RawDataElement:
    value = opened.data[element.start : element.start + element.length]
    tag, start = BaseTag(element.tag), element.start
    return RawDataElement(tag, element.vr, len(value), value, start, opened.implicit, opened.little)


def _encodings(declared: tuple[str, ...]) -> list[str]:
    with suppress(*FOREIGN_ERRORS):
        return list(convert_encodings(list(declared) or [""]))
    return [default_encoding]
