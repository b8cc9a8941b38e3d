"""Fetch of a patient's earlier studies from the PACS that a rule names.

From a DICOMweb server by QIDO-RS and WADO-RS (PS3.18 10.6, 10.4), here; from a DIMSE peer by `moved_priors`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

import requests
from pydicom.dataset import Dataset

from cxrserve import dicom_status
from cxrserve.archive.destination import Arrivals, DeliveryError, IsStored, Keep, PriorSource, PriorsWanted
from cxrserve.archive.peers import DimsePeer, PullServer
from cxrserve.archive.rules import Rules
from cxrserve.errors import CxrserveError
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.pacs.moved_priors import MovedPriors
from cxrserve.pacs.prior_studies import FIELDS, fetch_wanted, newest_fitting
from cxrserve.pacs.pull import instance_of, radiographs, retrieve
from cxrserve.pacs.web import translated, web_client

_log: Final = logging.getLogger("cxrserve.pacs")
_MAX_MATCHES: Final = 1000


def prior_source(rules: Rules, ae_title: str, *, max_bytes: int) -> PriorSource:
    """The servers and the DIMSE destinations of the rules as a source of earlier studies. Thread-safe.

    Args:
        ae_title: of this node.
        max_bytes: of one object that is fetched from a server.
    """
    web = WebPriors(rules.servers, max_bytes=max_bytes)
    dimse = {name: peer for name, peer in rules.destinations.items() if isinstance(peer, DimsePeer)}
    moved = MovedPriors(dimse, ae_title)

    def fetch(
        wanted: PriorsWanted, is_stored: IsStored, keep: Keep, arrivals: Arrivals, fetched: list[str]
    ) -> None:
        source = web if wanted.server in rules.servers else moved
        source(wanted, is_stored, keep, arrivals, fetched)

    return fetch


class WebPriors:
    """The servers of the rules as a source of earlier studies. Thread-safe.

    Args:
        max_bytes: of one object.
    """

    def __init__(self, servers: Mapping[str, PullServer], *, max_bytes: int) -> None:
        self._servers: Final = servers
        self._max_bytes: Final = max_bytes

    def __call__(
        self, wanted: PriorsWanted, is_stored: IsStored, keep: Keep, arrivals: Arrivals, fetched: list[str]
    ) -> None:
        """As `PriorSource`. `arrivals` is not used: nothing comes to the port of this node."""
        server = self._servers[wanted.server]
        fetch_wanted(
            earlier_studies(server, wanted),
            wanted,
            lambda study: self._fetch(server, study, is_stored, keep),
            fetched,
        )

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

    What the server answers is compared again.

    Raises:
        DeliveryError: the server did not answer.
    """
    try:
        matches = web_client(server).search_for_studies(
            search_filters={"PatientID": wanted.patient_id}, fields=list(FIELDS), limit=_MAX_MATCHES
        )
    except (requests.RequestException, OSError, ValueError) as error:
        raise translated(error, server) from error
    with quiet:
        studies = [Dataset.from_json(match) for match in matches]
    return newest_fitting(studies, wanted, server.modalities)
