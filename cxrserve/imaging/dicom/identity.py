"""Which object is this? The UIDs of a DICOM file, read from the data set itself, and as cheaply as that."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.filereader import data_element_generator

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.border import FOREIGN_ERRORS
from cxrserve.imaging.dicom import is_uid
from cxrserve.imaging.dicom.dataset import open_data_set
from cxrserve.imaging.limits import Limits

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_STUDY: Final = 0x0020000D


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The UIDs of an object; "" where it has none that is well formed."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str


def identity(part10: bytes, limits: Limits) -> Identity:
    """Who `part10` is. Elements after a damaged one are not looked for. Safe to call from many threads.

    Raises:
        UnreadableImage: no DICOM file.
        TooLarge: a deflated data set unfolds beyond the limit.
    """
    found: dict[int, str] = {}
    try:
        opened = open_data_set(part10, limits)
    except FOREIGN_ERRORS as error:
        raise UnreadableImage("the DICOM file cannot be read. Send a sound file.") from error
    stream = BytesIO(opened.data)
    stream.seek(opened.start)
    with suppress(*FOREIGN_ERRORS):
        for element in data_element_generator(
            stream,
            opened.implicit,
            opened.little,
            stop_when=lambda tag, vr, length: tag > _STUDY,
            specific_tags=[_SOP_CLASS, _SOP_INSTANCE, _STUDY],
        ):
            if isinstance(element.value, bytes):
                value = element.value.strip(b"\0 ").decode("ascii", "replace")
                found.setdefault(int(element.tag), value if is_uid(value) else "")
    return Identity(
        sop_class_uid=found.get(_SOP_CLASS, ""),
        sop_instance_uid=found.get(_SOP_INSTANCE, ""),
        study_instance_uid=found.get(_STUDY, ""),
    )
