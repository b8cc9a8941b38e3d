"""Disks that are full, databases that are locked, clocks that jump: refused, or late, never lost."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxrserve.errors import ConfigurationError, OutOfResources
from tests.archive.conftest import SENDER, OpenArchive, Peer, chest, study_of
from tests.postgres import crashed, postgres
from tests.waiting import until

NOT_YET = {"quiet_time_s": 1000}
# Until its input ends.
_LOCK = (
    "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30); "
    "connection.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); sys.stdin.read()"
)


@contextmanager
def full_disk(largest_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond `largest_bytes`: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process that holds the lock and does not end."""
    other = subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        yield


def files(archive: Path) -> list[Path]:
    """Kept objects, and what is left of writing them."""
    return [*archive.glob("objects/*/*"), *archive.glob("incoming/*/*")]


def test_a_full_disk_refuses_and_leaves_nothing(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive", rules=NOT_YET)
    data = chest()
    with full_disk(len(data) // 2), pytest.raises(OutOfResources, match="EFBIG"):
        archive.receive(data, SENDER)
    assert not files(tmp_path / "archive")
    assert archive.receive(data, SENDER).outcome == "kept"


def test_a_database_that_cannot_grow_refuses(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive", rules=NOT_YET)
    small, first = chest(rows=64, columns=64), chest(rows=64, columns=64)
    assert archive.receive(first, SENDER).outcome == "kept"
    with full_disk(len(small) + 100), pytest.raises(OutOfResources, match="database did not answer"):
        archive.receive(small, SENDER)
    assert archive.receive(small, SENDER).outcome == "kept"
    assert archive.receive(first, SENDER).outcome == "duplicate"


def test_a_locked_database_refuses_until_it_is_free(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive", rules=NOT_YET, database_timeout_s=0.5)
    data = chest()
    with locked(tmp_path / "archive" / "index.db"):
        started = time.monotonic()
        with pytest.raises(OutOfResources, match="database did not answer"):
            archive.receive(data, SENDER)
        assert time.monotonic() - started < 5
    assert archive.receive(data, SENDER).outcome == "kept"


def test_work_waits_for_a_locked_database(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer, {"quiet_time_s": 0.5}, database_timeout_s=0.5)
    receipt = archive.receive(chest(), SENDER)
    with locked(tmp_path / "archive" / "index.db"):
        time.sleep(3)
        assert not peer.received
    assert study_of(archive, receipt).state == "done"
    until(lambda: peer.of("SR"))
    assert sorted(each.Modality for each in peer.received) == ["OT", "PR", "SR"]


def test_a_database_server_that_crashes_costs_only_time(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    with postgres() as url:
        settings = {"database_url": url, "node_name": "left", "database_timeout_s": 2.0}
        archive = open_archive(tmp_path / "archive", peer, {"quiet_time_s": 1.0}, **settings)
        first, second = chest(), chest()
        assert archive.receive(first, SENDER).outcome == "kept"
        with crashed(url):
            with pytest.raises(OutOfResources, match="database did not answer"):
                archive.receive(second, SENDER)
            time.sleep(1.5)  # the first would be read now
            assert not peer.received
        assert archive.receive(second, SENDER).outcome == "kept"
        assert archive.receive(first, SENDER).outcome == "duplicate"
        until(lambda: len(peer.of("SR")) == 2)
        assert len(peer.received) == 6
        archive.close()


def test_a_disk_that_is_full_while_results_are_made_costs_only_time(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer, {"quiet_time_s": 0.5})
    receipt = archive.receive(chest(), SENDER)
    with full_disk(1_000_000):  # an overlay has four times that, the databases less
        until(lambda: any(job.attempts for job in archive.jobs.jobs()))
        assert not peer.received
    assert study_of(archive, receipt).state == "done"
    until(lambda: peer.of("SR"))


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_changes_nothing(
    open_archive: OpenArchive, tmp_path: Path, jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, true_time = Peer(), time.time
    archive = open_archive(tmp_path / "archive", peer, {"quiet_time_s": 0.5})
    first = archive.receive(chest(), SENDER)
    monkeypatch.setattr(time, "time", lambda: true_time() + jump_s)
    late = archive.receive(chest(first.study_instance_uid), SENDER)
    until(lambda: any(late.sop_instance_uid in str(each) for each in peer.of("SR")))
    assert [each.sop_instance_uid for each in study_of(archive, first).images] == [
        first.sop_instance_uid,
        late.sop_instance_uid,
    ]


def test_one_node_at_a_time_has_an_archive_on_sqlite(open_archive: OpenArchive, tmp_path: Path) -> None:
    open_archive(tmp_path / "archive")
    with pytest.raises(ConfigurationError, match="has this archive open"):
        open_archive(tmp_path / "archive")


def test_tables_of_a_newer_version_are_refused(open_archive: OpenArchive, tmp_path: Path) -> None:
    open_archive(tmp_path / "archive").close()
    with sqlite3.connect(tmp_path / "archive" / "index.db") as connection:
        connection.execute("UPDATE cxrserve_meta SET version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="version 99"):
        open_archive(tmp_path / "archive")


def test_a_password_in_a_wrong_url_is_not_repeated(open_archive: OpenArchive, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_archive(tmp_path / "archive", database_url="mysql://user:secret@host/name")
    assert "secret" not in caught.value.detail
