"""Reads the first bytes of a DICOM file before the rest has arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.dataset import TRANSFER_SYNTAX, is_plain, open_data_set, read_meta
from cxrserve.imaging.dicom.walk import walk
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS
from cxrserve.imaging.limits import Limits

_PIXEL_DATA: Final = 0x7FE00010
_DELIMITER_BYTES: Final = 8  # behind a value of undefined length


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePrefix:
    """The first bytes of a file.

    Attributes:
        data: the bytes themselves.
        start: where the data set begins.
        transfer_syntax: the declared one, or the one found where none is declared.
        deflated: the data set cannot be read from here.
    """

    data: bytes
    start: int
    transfer_syntax: UID
    deflated: bool

    def contains_header(self) -> bool:
        """True where reading all before Pixel Data needs no byte that is not here."""
        try:
            opened = open_data_set(self.data, Limits(), header_only=True)
            end = opened.start
            for element in walk(
                opened.data,
                opened.start,
                implicit=opened.implicit,
                little=opened.little,
                stop_at=_PIXEL_DATA,
            ):
                end = element.start + element.length + (_DELIMITER_BYTES if element.undefined else 0)
        except EOFError:
            return False
        except FOREIGN_ERRORS:
            return True  # damaged: more bytes do not help
        return end < len(opened.data)  # else it is cut between two elements, and more may follow


def begin(data: bytes) -> FilePrefix:
    """Offset of the data set in a file whose first bytes are `data`. Thread-safe.

    Raises:
        UnreadableImage: no DICOM, or cut or damaged before its first element.
    """
    try:
        meta, start = read_meta(data)
        declared = meta.get(TRANSFER_SYNTAX)
        if declared == DeflatedExplicitVRLittleEndian and not is_plain(data[start : start + 8]):
            return FilePrefix(data=data, start=start, transfer_syntax=declared, deflated=True)
        opened = open_data_set(data, Limits())
    except FOREIGN_ERRORS as error:
        raise UnreadableImage("the DICOM file cannot be read. Send a sound file.") from error
    return FilePrefix(data=data, start=opened.start, transfer_syntax=opened.transfer_syntax, deflated=False)
