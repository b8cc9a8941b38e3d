"""The UIDs that identify a DICOM object, read from its data set and nothing else of it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.dataset import open_data_set
from cxrserve.imaging.dicom.walk import once, walk
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS
from cxrserve.imaging.limits import Limits

_SOP_CLASS: Final = 0x00080016
_SOP_INSTANCE: Final = 0x00080018
_STUDY: Final = 0x0020000D
_PIXEL_DATA: Final = 0x7FE00010
_IDENTIFIERS: Final = (_SOP_CLASS, _SOP_INSTANCE, _STUDY)
# PS3.5 9.1 allows no component to begin with a zero. Whole modalities write such UIDs, and PACS accept
# them, so a UID is an opaque string here: it is only compared and repeated. It begins with a digit, so that
# it is never a relative path.
_UID: Final = re.compile(r"\d+(\.\d+)*", re.ASCII)
_MAX_UID: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The UIDs of an object; "" where it has none that is well formed."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str


def is_uid(text: str) -> bool:
    """Whether `text` can be a UID: digits and dots, at most 64 (PS3.5 9.1); leading zeros are accepted."""
    return len(text) <= _MAX_UID and _UID.fullmatch(text) is not None


def identity(part10: bytes, limits: Limits) -> Identity:
    """The UIDs of `part10`. Elements after a damaged one are not looked for. Safe to call from many threads.

    Raises:
        UnreadableImage: no DICOM file, or one of the UIDs stands there twice with different values.
    """
    values: dict[int, str] = {}
    try:
        opened = open_data_set(part10, limits, header_only=True)
    except FOREIGN_ERRORS as error:
        raise UnreadableImage("the DICOM file cannot be read. Send a sound file.") from error
    with suppress(*FOREIGN_ERRORS):
        elements = walk(
            opened.data, opened.start, implicit=opened.implicit, little=opened.little, stop_at=_PIXEL_DATA
        )
        for element in once(opened.data, elements, _IDENTIFIERS):
            if element.tag in _IDENTIFIERS and element.length <= _MAX_UID:
                value = opened.data[element.start : element.start + element.length]
                uid = value.strip(b"\0 ").decode("ascii", "replace")
                values[element.tag] = uid if is_uid(uid) else ""
    return Identity(
        sop_class_uid=values.get(_SOP_CLASS, ""),
        sop_instance_uid=values.get(_SOP_INSTANCE, ""),
        study_instance_uid=values.get(_STUDY, ""),
    )
