"""A DICOM file to the small header that its results need. Runs in a decode worker.

Pixels are not looked at: a film whose pixels are refused still gets a result that says so, if its UIDs can be
read. Whatever is wrong with a single element leaves that element out.
"""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from pydicom import dcmread, dcmwrite
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.answer import MOST_HEADER_BYTES
from cxrserve.imaging.border import FOREIGN_ERRORS, reading
from cxrserve.imaging.dicom.cleaning import KEPT, character_set, cleaned
from cxrserve.imaging.dicom.dataset import DataSetBytes, open_data_set
from cxrserve.imaging.limits import Limits

_IMPLEMENTATION: Final = UID("2.25.22154387595639598516570461512055017007")
_PIXEL_DATA: Final = 0x7FE00010
_LONGEST_VALUE: Final = 16 * 2**10
_TABLES: Final = {tag_for_keyword(each) for each in ("ModalityLUTSequence", "VOILUTSequence")}
_LONGEST_TABLES: Final = 512 * 2**10  # several, of up to 128 kB; one is kept
_NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_UTF8: Final = "ISO_IR 192"


def source_header(data: bytes, limits: Limits | None = None) -> bytes:
    """The header of `data` as a Part 10 file of its own, explicit VR little endian, a few kB large.

    Patient, study, series, equipment and what places a result over the image; where the image is shown with
    look-up tables, these too, 128 kB each at the most. Every value is well formed, in the character set of
    the file, or in UTF-8 where that cannot hold them.

    Raises:
        UnreadableImage: no DICOM file, or one of its four UIDs is missing or none.
        TooLarge: a deflated data set unfolds beyond the limit.
    """
    with reading("the DICOM header"):
        opened = open_data_set(data, limits or Limits())
        elements = _elements(opened)
        declared = character_set(Dataset(elements))
        found = Dataset(elements)
        found.set_original_encoding(opened.implicit, opened.little, _encodings(declared))
        if "SOPClassUID" not in found and opened.media_storage_class:
            found.SOPClassUID = opened.media_storage_class
        return encoded(cleaned(found), declared)


def encoded(header: Dataset, declared: tuple[str, ...]) -> bytes:
    """`header`, cleaned, as a Part 10 file, in the character set `declared` if that holds all of it.

    Raises:
        UnreadableImage: a UID is missing, or it is too long.
    """
    missing = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if missing:
        raise UnreadableImage(
            f"{' and '.join(missing)} cannot be read, so no result can refer to this object. Send a sound "
            "file."
        )
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.ImplementationClassUID = _IMPLEMENTATION
    file = _written(header, declared) or _written(header, (_UTF8,))
    if file is None or len(file) > MOST_HEADER_BYTES:
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
    return [str(each.value) for each in header if each.keyword != "SpecificCharacterSet" and each.VR != "SQ"]


def _elements(opened: DataSetBytes) -> dict[BaseTag, Any]:
    """What can be read before Pixel Data; a cut or damage further on ends the reading, no more."""
    stream = BytesIO(opened.data)
    stream.seek(opened.start)
    keywords = ("SpecificCharacterSet", *KEPT)
    wanted: list[BaseTag | int] = [tag for each in keywords if (tag := tag_for_keyword(each)) is not None]
    elements: dict[BaseTag, Any] = {}
    with suppress(*FOREIGN_ERRORS):
        for element in data_element_generator(
            stream,
            opened.implicit,
            opened.little,
            stop_when=lambda tag, vr, length: tag >= _PIXEL_DATA,
            specific_tags=wanted,
        ):
            most = _LONGEST_TABLES if element.tag in _TABLES else _LONGEST_VALUE
            if not isinstance(element.value, bytes) or len(element.value) <= most:
                elements.setdefault(element.tag, element)
    return elements


def _encodings(declared: tuple[str, ...]) -> list[str]:
    with suppress(*FOREIGN_ERRORS):
        return list(convert_encodings(list(declared) or [""]))
    return [default_encoding]
