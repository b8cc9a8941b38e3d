"""Fetch of a patient's earlier studies from a DIMSE peer: C-FIND, then C-MOVE to this node (PS3.4 C.4)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from cxrserve.archive.destination import Arrivals, DeliveryError, IsStored, Keep, PriorsWanted
from cxrserve.archive.peers import DimsePeer
from cxrserve.imaging.dicom.dataset import text
from cxrserve.imaging.dicom.identity import is_uid
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.pacs.client import associated
from cxrserve.pacs.presentation_contexts import STORAGE_CLASSES
from cxrserve.pacs.prior_studies import FIELDS, PRIOR_MODALITIES, fetch_wanted, newest_fitting
from cxrserve.pacs.query_retrieve import find, find_and_move_contexts, move

_UTF_8: Final = "ISO_IR 192"
_POLL_S: Final = 0.2


class _NotArrived(DeliveryError):
    """The peer says that it has sent an image, and it has not come: the others are not asked for now."""


class MovedPriors:
    """DIMSE destinations of the rules as a source of earlier studies. Thread-safe.

    Args:
        ae_title: of this node, to which the peers send. They must know it, with its address.
    """

    def __init__(self, peers: Mapping[str, DimsePeer], ae_title: str) -> None:
        self._peers: Final = peers
        self._ae_title: Final = ae_title

    def __call__(
        self, wanted: PriorsWanted, is_stored: IsStored, keep: Keep, arrivals: Arrivals, fetched: list[str]
    ) -> None:
        """As `PriorSource`. `keep` is not used: the objects come to the port of this node."""
        peer = self._peers[wanted.server]
        with quiet, associated(peer, find_and_move_contexts(), self._ae_title) as association:
            fetch_wanted(
                earlier_studies(association, peer, wanted),
                wanted,
                lambda study: self._fetch(association, peer, study, is_stored, arrivals),
                fetched,
                goes_on=lambda: association.is_established,
                ends_with=(_NotArrived,),
            )

    def _fetch(
        self, association: Association, peer: DimsePeer, study: str, is_stored: IsStored, arrivals: Arrivals
    ) -> tuple[bool, bool]:
        """Have the images of a study sent; whether any was stored before, and whether any is now.

        Raises:
            DeliveryError: the peer did not send an image; the others are stored.
        """
        images = list(_images(association, peer, study))
        missing = [image for image in images if not _any_class(is_stored, image)]
        if missing:
            arrivals.expect([str(image.SOPInstanceUID) for image in missing])
        new = False
        first: DeliveryError | None = None
        for image in missing:
            try:
                move(association, peer, image, self._ae_title)
                _wait_for(image, peer, arrivals)
            except DeliveryError as error:
                if isinstance(error, _NotArrived) or not association.is_established:
                    raise
                first = first or error
                continue
            new |= _any_class(is_stored, image)
        if first is not None:
            raise first
        return len(missing) < len(images), new


def earlier_studies(association: Association, peer: DimsePeer, wanted: PriorsWanted) -> list[str]:
    """Study Instance UIDs of the patient's studies up to the day of the current one, the newest first.

    What the peer answers is compared again, as for `WebPriors`.

    Raises:
        DeliveryError: the peer did not answer.
    """
    query = _query("STUDY", StudyInstanceUID="", **dict.fromkeys(FIELDS, ""))
    query.PatientID = wanted.patient_id
    if not wanted.patient_id.isascii():
        query.SpecificCharacterSet = _UTF_8
    return newest_fitting(find(association, peer, query), wanted, PRIOR_MODALITIES)


def _images(association: Association, peer: DimsePeer, study: str) -> Iterator[Dataset]:
    """The unique keys of each radiograph of a study, with its SOP Class UID where the peer gives it."""
    of_study = _query("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="")
    for series in find(association, peer, of_study):
        series_uid = text(series, "SeriesInstanceUID")
        if text(series, "Modality") not in PRIOR_MODALITIES or not is_uid(series_uid):
            continue
        of_series = _query(
            "IMAGE",
            StudyInstanceUID=study,
            SeriesInstanceUID=series_uid,
            SOPInstanceUID="",
            SOPClassUID="",
        )
        for image in find(association, peer, of_series):
            uid, sop_class = text(image, "SOPInstanceUID"), text(image, "SOPClassUID")
            if is_uid(uid) and sop_class in ("", *STORAGE_CLASSES):
                yield _query(
                    "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series_uid, SOPInstanceUID=uid
                )


def _query(level: str, **keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _any_class(is_stored: IsStored, image: Dataset) -> bool:
    """True where the image is stored; its SOP class need not be given by a C-FIND."""
    return any(is_stored(str(image.SOPInstanceUID), sop_class) for sop_class in STORAGE_CLASSES)


def _wait_for(image: Dataset, peer: DimsePeer, arrivals: Arrivals) -> None:
    """Wait for an image: a peer may say that it has sent it before it does so.

    Raises:
        DeliveryError: it has not come in the time that the peer has for an answer.
    """
    until = time.monotonic() + peer.timeout_s
    while not arrivals.has_come(str(image.SOPInstanceUID)):
        if time.monotonic() > until:
            raise _NotArrived(
                f"{peer.ae_title} says that it has sent an image, which has not arrived. Check that it sends "
                "to this station, and this station's log.",
                retryable=True,
            )
        time.sleep(_POLL_S)
