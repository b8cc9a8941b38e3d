"""What the first bytes of a DICOM file tell, while the rest of it is still to come."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.filereader import data_element_generator
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.border import FOREIGN_ERRORS
from cxrserve.imaging.dicom.dataset import TRANSFER_SYNTAX, open_data_set, read_meta
from cxrserve.imaging.limits import Limits

_PIXEL_DATA: Final = 0x7FE00010
_SOP_INSTANCE: Final = 0x00080018


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
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

    def has_header(self) -> bool:
        """True where reading all before Pixel Data needs no byte that is not here."""
        if self.deflated:
            return False
        stream = _Stream(self.data)
        with suppress(*FOREIGN_ERRORS):
            opened = open_data_set(self.data, Limits())
            stream.seek(opened.start)
            for _ in data_element_generator(
                stream,
                opened.implicit,
                opened.little,
                stop_when=lambda tag, vr, length: tag >= _PIXEL_DATA,
                specific_tags=[_SOP_INSTANCE],  # any one: what is not named is passed over
            ):
                pass
        return not stream.exhausted


class _Stream(BytesIO):
    """Notes that more was asked for than there is."""

    exhausted = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.exhausted = self.exhausted or size is None or len(data) < size
        return data


def begin(data: bytes) -> Beginning:
    """Where the data set begins in a file whose first bytes are `data`. Safe to call from many threads.

    Raises:
        UnreadableImage: no DICOM, or cut or damaged before its first element.
    """
    try:
        meta, start = read_meta(data)
        declared = meta.get(TRANSFER_SYNTAX)
        if declared == DeflatedExplicitVRLittleEndian:
            return Beginning(data=data, start=start, transfer_syntax=declared, deflated=True)
        opened = open_data_set(data, Limits())
    except FOREIGN_ERRORS as error:
        raise UnreadableImage("the DICOM file cannot be read. Send a sound file.") from error
    return Beginning(data=data, start=opened.start, transfer_syntax=opened.transfer_syntax, deflated=False)
