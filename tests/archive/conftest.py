"""Archives on real folders and databases, with the real pipeline; where results go is a list in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import yaml
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from cxrserve.archive.archive import Archive
from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.archive.views.worklist import StudyContent
from cxrserve.pacs.transcoding import reference_to
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.dicom.objects import Reference
from tests import radiographs
from tests.conftest import MakeSettings
from tests.postgres import fresh_database, postgres
from tests.waiting import until

SENDER = Source(protocol="dimse", calling_ae="MODALITY", address="127.0.0.1")
_PATIENCE_S = 60.0
_Found = TypeVar("_Found")


class Peer:
    """A destination.

    Attributes:
        received: data sets, in the order they came.
        error: raised instead of taking anything, while it is set.
        gate: closed, it accepts and never answers.
    """

    def __init__(self) -> None:
        self.received: list[Dataset] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.tries = 0

    def send(self, objects: Sequence[Path]) -> Sequence[Reference]:
        """As `Destination`."""
        self.tries += 1
        self.gate.wait()
        if self.error is not None:
            raise self.error
        taken = [dcmread(path) for path in objects]
        self.received += taken
        return [reference_to(dataset) for dataset in taken]

    def of(self, modality: str) -> list[Dataset]:
        """The received objects of one modality: SR, PR, OT or the like."""
        return [each for each in self.received if each.Modality == modality]


def away(*, retryable: bool = True) -> DeliveryError:
    """A peer that does not answer, or refuses."""
    return DeliveryError("the peer did not take it.", retryable=retryable)


def chest(study: str | None = None, rows: int = 96, columns: int = 80, **elements: object) -> bytes:
    """A small radiograph with UIDs of its own."""
    uids = {"SOPInstanceUID": generate_uid(), "StudyInstanceUID": study or generate_uid()}
    return radiographs.dicom(rows, columns, **{**uids, **elements})


def study_of(archive: Archive, receipt: Receipt, *states: str) -> StudyContent:
    """Wait until the study of `receipt` is in one of `states`; by default at its end."""
    wanted = states or ("done", "failed", "refused")

    def found() -> StudyContent | None:
        study = archive.worklist.study(receipt.study_instance_uid)
        return study if study is not None and study.state in wanted else None

    return until(found)


class OpenArchive(Protocol):
    """Open an archive that is closed after the test; the same folder again is a restart."""

    def __call__(
        self, folder: Path, peer: Peer | None = None, rules: dict[str, Any] | None = None, **settings: object
    ) -> Archive: ...


@pytest.fixture(scope="session")
def pipeline(make_settings: MakeSettings) -> Iterator[Pipeline]:
    """One pipeline with the tiny bundle for all archives."""
    with Pipeline(make_settings()) as opened:
        yield opened


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[str]:
    """A PostgreSQL of our own."""
    with postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_cluster: str) -> str:
    """An empty database: it belongs to one archive folder, and each test has its own."""
    return fresh_database(postgres_cluster)


@pytest.fixture
def open_archive(pipeline: Pipeline, make_settings: MakeSettings) -> Iterator[OpenArchive]:
    """A factory of archives: quiet for 0.2 s, and everything goes to `peer` where there is one."""
    with ExitStack() as opened:

        def make(
            folder: Path, peer: Peer | None = None, rules: dict[str, Any] | None = None, **settings: object
        ) -> Archive:
            destinations = {} if peer is None else {"peer": peer}
            usual: dict[str, Any] = {
                "quiet_time_s": 0.2,
                "destinations": {name: {"protocol": "stow", "url": "http://peer"} for name in destinations},
                "rules": [{"name": "all", "destinations": list(destinations)}],
            }
            path = folder.with_suffix(".yaml")
            path.write_text(yaml.safe_dump({**usual, **(rules or {})}))
            made = {"archive": folder, "rules": path, "archive_min_free_bytes": 1, **settings}
            return opened.enter_context(Archive.open(make_settings(**made), pipeline, destinations))

        yield make
