"""A wrong clock deletes nothing: not when it jumps ahead, is behind, or is wrong at the start."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from cxrserve.archive.rules import Retention
from cxrserve.archive.storage.retention_clock import FILE, RetentionClock
from tests.archive.conftest import SENDER, OpenArchive, chest, study_of

DAY = 86_400.0
NOW = 1_800_000_000.0


class Times:
    """Two clocks that a test moves: one that may jump, and one that only passes."""

    def __init__(self) -> None:
        self.wall_s = NOW
        self.passed_s = 5_000.0

    def run(self, seconds: float) -> None:
        """Let time pass on both."""
        self.wall_s += seconds
        self.passed_s += seconds

    def clock(self, folder: Path, latest: float | None = None) -> RetentionClock:
        """A clock that reads them, as after a start of the station."""
        return RetentionClock(
            folder, lambda: latest, wall=lambda: self.wall_s, monotonic=lambda: self.passed_s
        )


@pytest.fixture
def times() -> Times:
    return Times()


def test_it_follows_a_right_clock(times: Times, tmp_path: Path) -> None:
    clock = times.clock(tmp_path)
    for _ in range(24):
        times.run(3600)
        assert clock.now() == times.wall_s
    assert times.clock(tmp_path).now() == times.wall_s


def test_a_jump_ahead_counts_for_no_more_than_the_time_that_passed(
    times: Times, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = times.clock(tmp_path)
    assert clock.now() == NOW
    times.wall_s += 31 * DAY
    times.run(3600)
    with caplog.at_level(logging.WARNING):
        assert clock.now() == pytest.approx(NOW + 1.1 * 3600)
        assert clock.now() == pytest.approx(NOW + 1.1 * 3600)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "31.0 days ahead of the clock of retention" in caplog.text
    times.wall_s -= 31 * DAY
    assert clock.now() == pytest.approx(NOW + 3600)


def test_many_starts_with_a_wrong_clock_gain_nothing(times: Times, tmp_path: Path) -> None:
    assert times.clock(tmp_path).now() == NOW
    times.wall_s += 31 * DAY
    for _ in range(100):
        assert times.clock(tmp_path).now() == NOW


def test_time_for_which_the_station_was_off_is_caught_up(times: Times, tmp_path: Path) -> None:
    times.clock(tmp_path).now()
    times.wall_s += 2 * DAY
    clock = times.clock(tmp_path)
    for _ in range(20 * 24):
        times.run(3600)
        clock.now()
    assert clock.now() == pytest.approx(times.wall_s, abs=1)


def test_a_clock_far_behind_is_followed_down_and_up_again(times: Times, tmp_path: Path) -> None:
    clock = times.clock(tmp_path)
    clock.now()
    times.wall_s = 0.0
    times.run(60)
    assert clock.now() == 60
    assert clock.received() == NOW + 60  # what comes now is not from 1970
    times.wall_s = NOW
    times.run(60)
    assert clock.now() == pytest.approx(NOW + 60)


def test_an_archive_without_a_reading_begins_with_what_it_received_last(times: Times, tmp_path: Path) -> None:
    assert times.clock(tmp_path, latest=NOW - 40 * DAY).now() == NOW - 40 * DAY


@pytest.mark.parametrize("content", ["", "nan", "soon", "\xff"])
def test_a_damaged_reading_begins_again(times: Times, tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, "latin-1")
    assert times.clock(tmp_path, latest=NOW - DAY).now() == NOW - DAY


def test_a_full_disk_stops_no_retention(times: Times, tmp_path: Path) -> None:
    clock = times.clock(tmp_path / "missing")
    assert clock.now() == NOW


def test_a_clock_31_days_ahead_deletes_no_image(
    open_archive: OpenArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path / "archive")
    study_of(archive, archive.receive(chest(), SENDER))
    right = time.time
    monkeypatch.setattr(archive._expiry._now.__self__, "_wall", lambda: right() + 31 * DAY)  # type: ignore[attr-defined]
    assert archive._expiry.run(Retention(images_days=30)) == 0
    archive.close()
    monkeypatch.setattr(time, "time", lambda: right() + 31 * DAY)
    again = open_archive(tmp_path / "archive")
    assert again._expiry.run(Retention(images_days=30)) == 0
    assert len(list((tmp_path / "archive" / "objects").glob("*/*.dcm"))) == 1


def test_an_image_that_came_while_the_clock_was_behind_is_not_old(
    open_archive: OpenArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = open_archive(tmp_path / "archive")
    right = time.time
    clock = archive._expiry._now.__self__  # type: ignore[attr-defined]
    monkeypatch.setattr(clock, "_wall", lambda: right() - 400 * DAY)
    study_of(archive, archive.receive(chest(), SENDER))
    monkeypatch.setattr(clock, "_wall", right)
    assert archive._expiry.run(Retention(images_days=30)) == 0
