"""Jobs that send: deliveries of results, and reports of Storage Commitment."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cxrserve.archive.destination import (
    CommitmentReporter,
    CommitmentRequest,
    DeliveryError,
    Destination,
)
from cxrserve.archive.jobs.queue import corrected_since
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import Store
from cxrserve.archive.storage.tables import DELIVERED, JobRow
from cxrserve.reports.dicom.objects import Reference

_log: Final = logging.getLogger("cxrserve.archive")


class DeliveryJob:
    """Sends the results that a delivery job names, unless their study was corrected since they were made."""

    def __init__(self, store: Store, database: Database, destinations: Mapping[str, Destination]) -> None:
        self._store: Final = store
        self._database: Final = database
        self._destinations: Final = destinations

    def run(self, job: JobRow) -> None:
        """Do one delivery.

        Raises:
            DeliveryError: the destination did not take it, or the rules name none of that name any more.
        """
        with self._database.reading() as connection:
            if corrected_since(connection, job):
                _log.info("job=%s is superseded: its study was corrected", job.id)
                return
        destination = self._destinations.get(job.destination)
        if destination is None:
            raise DeliveryError(
                f"the rules name no destination {job.destination} any more. Put it back and retry, or "
                "purge this job.",
                retryable=False,
            )
        paths = [name.partition("/") for name in json.loads(job.payload)]
        sent = destination.send([self._store.results_path(key) / name for key, _, name in paths])
        if sent:
            self._record(job, sent)

    def _record(self, job: JobRow, sent: Sequence[Reference]) -> None:
        """Write down the objects as they were sent; they may be there from an earlier try."""
        with self._database.writing() as connection:
            for reference in sent:
                self._database.insert_new(connection, DELIVERED, job=job.id, **reference.model_dump())


class CommitmentJob:
    """Reports to a modality which of its objects are stored here.

    Args:
        is_stored: says of a SOP Instance UID and a SOP Class UID whether that object is stored and sound.
    """

    def __init__(self, reporter: CommitmentReporter, is_stored: Callable[[str, str], bool]) -> None:
        self._reporter: Final = reporter
        self._is_stored: Final = is_stored

    def run(self, job: JobRow) -> None:
        """Send one report.

        Raises:
            DeliveryError: the modality did not take it.
            OutOfResources: the database does not answer.
        """
        request = CommitmentRequest.model_validate_json(job.payload)
        missing = {
            instance for sop_class, instance in request.objects if not self._is_stored(instance, sop_class)
        }
        self._reporter.report(request, missing)
