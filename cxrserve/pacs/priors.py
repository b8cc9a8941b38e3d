"""Search for a patient's earlier studies on a DICOMweb server, by QIDO-RS and WADO-RS (PS3.18 10.6, 10.4)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

import requests
from pydicom.dataset import Dataset

from cxrserve import dicom_status
from cxrserve.archive.destination import DeliveryError, IsStored, Keep, PriorsWanted
from cxrserve.archive.peers import PullServer
from cxrserve.errors import CxrserveError
from cxrserve.imaging.dicom.dataset import text, texts
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.pacs.pull import instance_of, radiographs, retrieve
from cxrserve.pacs.web import translated, web_client

_log: Final = logging.getLogger("cxrserve.pacs")
_FIELDS: Final = ("PatientID", "IssuerOfPatientID", "StudyDate", "StudyTime", "ModalitiesInStudy")
_MAX_MATCHES: Final = 1000
_LOOKED_AT: Final = 5  # studies for each one that is wanted: of other parts of the body nothing is kept


class WebPriors:
    """The servers of the rules as a source of earlier studies. Thread-safe.

    Args:
        max_bytes: of one object.
    """

    def __init__(self, servers: Mapping[str, PullServer], *, max_bytes: int) -> None:
        self._servers: Final = servers
        self._max_bytes: Final = max_bytes

    def __call__(self, wanted: PriorsWanted, is_stored: IsStored, keep: Keep, fetched: list[str]) -> None:
        """As `PriorSource`."""
        server = self._servers[wanted.server]
        first: DeliveryError | None = None
        found = 0
        for study in earlier_studies(server, wanted)[: _LOOKED_AT * wanted.studies]:
            if found == wanted.studies:
                break
            try:
                known, new = self._fetch(server, study, is_stored, keep)
            except DeliveryError as error:
                first = first or error
                continue
            found += known or new
            if new:
                fetched.append(study)
        if first is not None:
            raise first

    def _fetch(self, server: PullServer, study: str, is_stored: IsStored, keep: Keep) -> tuple[bool, bool]:
        """Fetch the images of a study; whether any was stored before, and whether any is now.

        Raises:
            DeliveryError: the server did not give an image; the others are stored.
        """
        known, new = False, False
        first: DeliveryError | None = None
        for uids, sop_class in _images(server, study):
            if is_stored(uids[2], sop_class):
                known = True
                continue
            try:
                new |= keep(retrieve(server, *uids, max_bytes=self._max_bytes))
            except DeliveryError as error:
                first = first or error
            except CxrserveError as error:
                if error.dimse_status == dicom_status.OUT_OF_RESOURCES:
                    raise
                _log.warning("fetched prior refused: %s", error.slug)
        if first is not None:
            raise first
        return known, new


def _images(server: PullServer, study: str) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Study, series and SOP Instance UID of each radiograph of a study, and its SOP Class UID."""
    for match in radiographs(server, StudyInstanceUID=study):
        uids = instance_of(match)
        if uids is not None and uids[0] == study:
            yield uids, str(match["00080016"]["Value"][0])


def earlier_studies(server: PullServer, wanted: PriorsWanted) -> list[str]:
    """Study Instance UIDs of the patient's studies up to the day of the current one, the newest first.

    What the server answers is compared again: some match a Patient ID in any case, or as a pattern. A study
    without a date counts as the oldest.

    Raises:
        DeliveryError: the server did not answer.
    """
    try:
        matches = web_client(server).search_for_studies(
            search_filters={"PatientID": wanted.patient_id}, fields=list(_FIELDS), limit=_MAX_MATCHES
        )
    except (requests.RequestException, OSError, ValueError) as error:
        raise translated(error, server) from error
    with quiet:
        studies = [Dataset.from_json(match) for match in matches]
        fitting = [study for study in studies if _fits(study, wanted, server)]
        fitting.sort(key=lambda study: (text(study, "StudyDate"), text(study, "StudyTime")), reverse=True)
        return list(dict.fromkeys(text(study, "StudyInstanceUID") for study in fitting))


def _fits(study: Dataset, wanted: PriorsWanted, server: PullServer) -> bool:
    issuer, date = text(study, "IssuerOfPatientID"), text(study, "StudyDate")
    modalities = texts(study, "ModalitiesInStudy")
    return (
        text(study, "PatientID") == wanted.patient_id
        and (not issuer or not wanted.issuer or issuer == wanted.issuer)
        and text(study, "StudyInstanceUID") not in ("", wanted.study_instance_uid)
        and (not date or not wanted.study_date or date <= wanted.study_date)
        and (not modalities or any(modality in server.modalities for modality in modalities))
    )
