"""Query of a PACS for the patient of a study: Study Root C-FIND (PS3.4 C.4.1) or QIDO-RS (PS3.18 10.6)."""

from __future__ import annotations

from typing import Final

import requests
from pydicom.dataset import Dataset

from cxrserve.archive.destination import PatientDirectory
from cxrserve.archive.peers import DimsePeer, PullServer
from cxrserve.archive.rules import Rules
from cxrserve.imaging.dicom.dataset import text
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.pacs.client import associated
from cxrserve.pacs.query_retrieve import find, find_contexts
from cxrserve.pacs.web import translated, web_client
from cxrserve.reports.dicom.patient import Patient

_FIELDS: Final = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
)


def patient_directory(rules: Rules, calling_ae: str) -> PatientDirectory | None:
    """The query that the rules ask for; None where they ask no PACS."""
    source = rules.patients.source
    if source is None:
        return None
    if source in rules.servers:
        return QidoDirectory(rules.servers[source])
    peer = rules.destinations[source]
    assert isinstance(peer, DimsePeer)  # noqa: S101 - the rules have checked it
    return FindDirectory(peer, calling_ae)


class FindDirectory:
    """C-FIND at study level."""

    def __init__(self, peer: DimsePeer, calling_ae: str) -> None:
        self._peer: Final = peer
        self._calling_ae: Final = calling_ae

    def __call__(self, study_instance_uid: str) -> Patient | None:
        """As `PatientDirectory`."""
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID = study_instance_uid
        for keyword in _FIELDS:
            setattr(query, keyword, "")
        with quiet, associated(self._peer, find_contexts(), self._calling_ae) as association:
            matches = find(association, self._peer, query)
        return _patient(matches, study_instance_uid)


class QidoDirectory:
    """QIDO-RS for studies."""

    def __init__(self, server: PullServer) -> None:
        self._server: Final = server

    def __call__(self, study_instance_uid: str) -> Patient | None:
        """As `PatientDirectory`."""
        try:
            matches = web_client(self._server).search_for_studies(
                search_filters={"StudyInstanceUID": study_instance_uid}, fields=list(_FIELDS)
            )
        except (requests.RequestException, OSError, ValueError) as error:
            raise translated(error, self._server) from error
        with quiet:
            return _patient([Dataset.from_json(match) for match in matches], study_instance_uid)


def _patient(matches: list[Dataset], study_instance_uid: str) -> Patient | None:
    """The patient of the study; None where there is no match, or several that differ."""
    patients = {
        Patient(
            patient_id=text(match, "PatientID"),
            issuer=text(match, "IssuerOfPatientID"),
            name=str(match.get("PatientName") or ""),
            accession_number=text(match, "AccessionNumber"),
            birth_date=text(match, "PatientBirthDate"),
            sex=text(match, "PatientSex"),
        )
        for match in matches
        if text(match, "StudyInstanceUID") in ("", study_instance_uid)
    }
    return patients.pop() if len(patients) == 1 else None
