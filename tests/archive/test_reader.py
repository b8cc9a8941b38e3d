"""Readings that are begun and never ended: an image is not given up for what its machine suffers."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from cxrserve.archive.archive import Archive
from cxrserve.archive.jobs import read_image as reader
from cxrserve.archive.rules import CurrentRules
from cxrserve.archive.storage.files import DamagedObject
from cxrserve.archive.storage.tables import OBJECTS
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.dicom import load_reports
from tests.archive.conftest import SENDER, OpenArchive, Peer, chest, study_of
from tests.waiting import until

SOON = {"quiet_time_s": 0.5}


def begun(archive: Archive, times: int) -> None:
    """What processes leave that were killed while they read: it was begun, and nobody noted an end."""
    with archive._database.writing() as connection:
        connection.execute(OBJECTS.update().values(tries=times))


def tries(archive: Archive) -> int:
    """What the index says of the only image."""
    with archive._database.reading() as connection:
        return int(connection.execute(OBJECTS.select()).one().tries)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let the process have as many files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_disk_that_is_full_for_long_costs_only_time(
    open_archive: OpenArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More tries than an image may be begun without an end."""
    monkeypatch.setattr(reader, "MAX_DEATHS", 4)
    peer, folder = Peer(), tmp_path / "archive"
    archive = open_archive(folder, peer, SOON, delivery_max_pause_s=0.05)
    receipt = archive.receive(chest(), SENDER)
    (incoming,) = (folder / "incoming").iterdir()
    incoming.rename(folder / "away")  # results cannot be written: ENOENT here, ENOSPC there
    until(lambda: any(job.attempts > reader.MAX_DEATHS for job in archive.jobs.jobs()))
    assert tries(archive) <= 1
    (folder / "away").rename(incoming)
    assert [image.state for image in study_of(archive, receipt).images] == ["done"]
    until(lambda: peer.of("SR"))
    assert sorted(each.Modality for each in peer.received) == ["OT", "PR", "SR"]


def test_a_process_that_is_often_killed_gives_no_image_up(open_archive: OpenArchive, tmp_path: Path) -> None:
    """What it was at each time comes later in each life, so that deaths by chance do not add up."""
    archive = open_archive(tmp_path / "archive", rules=SOON)
    opened = time.monotonic()
    receipt = archive.receive(chest(), SENDER)
    begun(archive, 5)
    other = archive.receive(chest(), SENDER)
    assert study_of(archive, other).state == "done"
    assert [image.state for image in study_of(archive, receipt).images] == ["done"]
    assert time.monotonic() - opened > 4


def test_an_image_that_breaks_every_process_is_given_up(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer, SOON)
    receipt = archive.receive(chest(), SENDER)
    begun(archive, reader.MAX_DEATHS)
    (image,) = study_of(archive, receipt).images
    assert image.state == "failed"
    assert image.problem is not None
    assert "never ended" in image.problem.detail
    until(lambda: peer.of("SR"))


def test_what_cannot_be_opened_now_is_not_damaged(
    open_archive: OpenArchive, tmp_path: Path, pipeline: Pipeline
) -> None:
    archive = open_archive(tmp_path / "archive", rules={"quiet_time_s": 1000})
    receipt = archive.receive(chest(), SENDER)
    own = reader.ImageReader(archive._store, archive._database, CurrentRules(archive.rules), pipeline)
    load_reports()
    with no_more_files(), pytest.raises((DamagedObject, DBAPIError)):
        own.read(receipt.sop_instance_uid)
    own.read(receipt.sop_instance_uid)
    found = archive.worklist.study(receipt.study_instance_uid)
    assert found is not None
    assert [image.state for image in found.images] == ["done"]
