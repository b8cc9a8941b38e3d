"""Comparison of two objects with one SOP Instance UID: the same image in another form, or another image.

A PACS forwards what a modality has also sent: in another transfer syntax, or with attributes of its own. That
is the same image if the stored values of its pixels are the same, in the same study and series. Where its
patient, issuer, name or accession number differ as well, it is a corrected copy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

import sqlalchemy as sa
from pydicom.dataset import Dataset

from cxrserve.archive.receiving.parse import ReceivedObject
from cxrserve.archive.storage.database import Database, answering
from cxrserve.archive.storage.files import DamagedObject, Store
from cxrserve.archive.storage.tables import OBJECTS
from cxrserve.errors import ImageError, RequestError
from cxrserve.imaging.display_header import DisplayedImage
from cxrserve.reports.dicom import read_source
from cxrserve.reports.dicom.patient import Patient, patient_of

_log: Final = logging.getLogger("cxrserve.archive")
_PLACE: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID")

Comparison = Literal["same", "corrected", "other"]
Decode = Callable[[bytes], DisplayedImage]


class SameImage:
    """Compares a received object with the stored one.

    Args:
        decode: decodes a file at its full depth, in a decode worker.
    """

    def __init__(self, store: Store, database: Database, decode: Decode) -> None:
        self._store: Final = store
        self._database: Final = database
        self._decode: Final = decode

    def __call__(self, incoming: ReceivedObject) -> Comparison:
        """Compare `incoming` with the stored object that has its UID.

        An image that cannot be decoded, or whose file was deleted by retention, is never the same.

        Returns:
            "corrected" for the same image under another patient, issuer, name or accession number.

        Raises:
            Busy, DeadlineExceeded: no decode worker is free: the sender tries again.
        """
        with answering(), self._database.reading() as connection:
            row = connection.execute(
                sa.select(OBJECTS.c.sha256, OBJECTS.c.header).where(
                    OBJECTS.c.sop_instance_uid == incoming.sop_instance_uid, OBJECTS.c.expired == 0
                )
            ).one_or_none()
        if row is None or not _same_place(bytes(row.header), incoming.header):
            return "other"
        try:
            before, after = self._decode(self._store.read(row.sha256)), self._decode(incoming.file.read())
        except (RequestError, ImageError, DamagedObject) as error:
            _log.info("two objects with one SOP Instance UID cannot be compared: %s", type(error).__name__)
            return "other"
        if _pixels(before) != _pixels(after):
            return "other"
        stored = patient_of(bytes(row.header))
        return "same" if _same_patient(stored, incoming.patient) else "corrected"


def _same_place(before: bytes, after: bytes) -> bool:
    """True where both name the same study, series and SOP class."""
    stored, received = read_source(before).header, read_source(after).header
    return all(_value(stored, keyword) == _value(received, keyword) for keyword in _PLACE)


def _same_patient(before: Patient, after: Patient) -> bool:
    """True where both name the same patient and order; a PACS may add an issuer to what a modality sent."""
    if before.issuer and after.issuer and before.issuer != after.issuer:
        return False
    return replace(before, issuer="").identity == replace(after, issuer="").identity


def _value(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "")


def _pixels(image: DisplayedImage) -> tuple[int, int, int, bool, bytes]:
    """Shape, offset, polarity and stored values; without the tables that follow them."""
    header = image.header
    size = header.about.rows * header.about.columns * (2 if header.sample == "uint16" else 1)
    about = header.about
    return about.rows, about.columns, header.offset, header.white_is_low, bytes(image.payload[:size])
