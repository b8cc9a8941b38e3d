"""The watch of one process: reports in words, survives kills, and keeps nothing that names a patient."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cxrserve.errors import ConfigurationError
from cxrserve.metrics import Metrics
from cxrserve.watch.group import ALL, DayCounts, Group, GroupName
from cxrserve.watch.reference import MIN_FILMS, GroupReference
from cxrserve.watch.store import KEPT_DAYS, Store
from cxrserve.watch.streams import bins_of
from cxrserve.watch.watch import MAX_GROUPS, Watch
from tests import radiographs
from tests.conftest import Serve
from tests.watch.films import Calendar, film
from tests.watch.kills import live


def run(watch: Watch, calendar: Calendar, days: int, films: int = 100, darker: float = 0.0) -> None:
    random = np.random.default_rng(calendar.day.toordinal())
    for _ in range(days):
        for _ in range(films):
            watch.observe(film(random, darker=darker))
        watch.flush()
        calendar.turn()


def test_a_change_is_told_in_words_and_is_there_after_a_restart(tmp_path: Path) -> None:
    calendar, path = Calendar(), tmp_path / "watch" / "watch.sqlite3"
    metrics = Metrics()
    watch = Watch(path, metrics, key="bundle", today=calendar.today)
    run(watch, calendar, 14)
    quiet = watch.report()
    assert not quiet.alarm
    assert quiet.changes == ()
    assert "No change" in quiet.summary
    run(watch, calendar, 4, darker=0.06)  # from 15 January on
    report = watch.report()
    watch.close()
    assert report.alarm
    assert report.evidence >= report.bound
    change = report.changes[0]
    assert (change.station, change.view, change.stream) == ("all", "all", "grey-median")
    assert re.fullmatch(
        r"Since 1[4-6] January 2026, films of all stations are darker in their stored values than those of "
        r"the reference: [5-9]\d% lie in its lowest fifth\.",
        change.text,
    )
    value = metrics.registry.get_sample_value
    assert value("cxrserve_watch_alarm") == 1
    assert value("cxrserve_watch_films_total", {"station": "other", "view": "PA"}) == 1800
    expected = value("cxrserve_watch_expected_positives_total", {"station": "other", "finding": "Edema"})
    assert expected is not None
    assert 200 < expected < 350
    again = Watch(path, Metrics(), key="bundle", today=calendar.today)
    assert again.report() == report
    again.close()
    assert path.stat().st_mode & 0o077 == 0
    other_bundle = Watch(path, Metrics(), key="another bundle", today=calendar.today)
    assert other_bundle.report().groups == (), "other networks give other numbers: the watch starts again"
    other_bundle.close()


def test_without_enough_films_nothing_is_an_alarm() -> None:
    calendar = Calendar()
    watch = Watch(None, Metrics(), key="bundle", today=calendar.today)
    run(watch, calendar, 2, films=300)
    run(watch, calendar, 1, films=300, darker=0.4)
    report = watch.report()
    watch.close()
    assert not report.alarm
    assert not any(group.watched for group in report.groups)
    assert f"needs {MIN_FILMS} films, and the largest has 900" in report.summary


def test_a_reference_of_the_site_is_used_at_once_and_a_small_one_never_alarms() -> None:
    calendar = Calendar()
    learning = Watch(None, Metrics(), key="bundle", today=calendar.today)
    run(learning, calendar, 1, films=MIN_FILMS)
    references = [group.reference for group in learning._groups.values() if group.reference is not None]
    learning.close()
    watch = Watch(
        None, Metrics(), key="bundle", references=references, site="site A v2", today=calendar.today
    )
    run(watch, calendar, 3, darker=0.06)
    report = watch.report()
    watch.close()
    assert report.alarm
    assert report.site == "site A v2"
    assert {group.reference for group in report.groups} == {"site"}
    small = [GroupReference.model_validate(each.model_dump() | {"films": 300}) for each in references]
    watch = Watch(None, Metrics(), key="bundle", references=small, today=calendar.today)
    run(watch, calendar, 3, darker=0.06)
    assert not watch.report().alarm
    watch.close()


def test_stations_beyond_the_limit_are_others() -> None:
    watch = Watch(None, Metrics(), key="bundle")
    random = np.random.default_rng(0)
    for number in range(MAX_GROUPS + 5):
        watch.observe(film(random, station=f"Room {number}"))
    watch.flush()
    names = {(group.station, group.view): group.films for group in watch.report().groups}
    watch.close()
    assert names["other", "other"] == 5
    assert len(names) == MAX_GROUPS + 2


def test_a_file_of_another_process_or_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "watch.sqlite3"
    first = Watch(path, Metrics(), key="bundle")
    with pytest.raises(ConfigurationError, match="One process at a time"):
        Watch(path, Metrics(), key="bundle")
    first.close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(ConfigurationError, match="format 9"):
        Watch(path, Metrics(), key="bundle")


def test_counts_older_than_two_years_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "watch.sqlite3"
    store, group, first = Store(path), Group(ALL), 739_000
    random = np.random.default_rng(0)
    for day in (first, first + 1, first + 2, first + KEPT_DAYS + 2):
        observation = film(random)
        group.record(observation, bins_of(observation.values_S), day)
        store.save([group], "reference")
    days = store.days(ALL, 0)
    store.close()
    assert sorted(days) == [first + 2, first + KEPT_DAYS + 2]


def test_two_years_of_all_stations_take_less_than_50_mib() -> None:
    """A day of one station and view, with every stream in use, has a bounded size."""
    day = DayCounts()
    random = np.random.default_rng(0)
    day.tenths_ST = random.integers(0, 200, day.tenths_ST.shape)
    day.positives_F = random.integers(0, 200, day.positives_F.shape)
    day.expected_F = random.random(day.expected_F.shape) * 200
    assert len(day.packed()) * (MAX_GROUPS + 2) * KEPT_DAYS < 50 * 2**20


def test_a_killed_process_loses_at_most_its_last_seconds(tmp_path: Path) -> None:
    """Each life goes on where the one before was killed: the counts never go back."""
    before = 0
    for number in range(3):
        life = live(tmp_path / "watch.sqlite3", 900 + 211 * number)
        assert before + life.old <= life.saved <= before + life.given + 1
        before = life.saved
    assert before > 0


def test_a_service_counts_what_it_reads_and_refuses_and_keeps_no_patient(
    serve: Serve, tmp_path: Path
) -> None:
    secrets: dict[str, Any] = {
        "PatientName": "SECRETNAME^JOHN",
        "PatientID": "SECRETID4711",
        "PatientBirthDate": "19330102",
        "StationName": "SECRETROOM",
        "InstitutionName": "SECRETHOSPITAL",
        "StudyInstanceUID": "1.2.826.0.1.3680043.77.1234567",
        "SOPInstanceUID": "1.2.826.0.1.3680043.77.7654321",
    }
    folder = tmp_path / "watch"
    with serve(watch=folder) as server:
        for data in (radiographs.dicom(ViewPosition="AP", **secrets), radiographs.jpeg()):
            assert httpx.post(f"{server.url}/predict", content=data).status_code == 200
        assert httpx.post(f"{server.url}/triage", content=radiographs.jpeg()).status_code == 200
        flat = radiographs.dicom(BodyPartExamined="FOOT", **secrets)
        assert httpx.post(f"{server.url}/predict", content=flat).status_code == 422
        server.server.service.pipeline.watch.flush()
        report = httpx.get(f"{server.url}/watch").json()
        metrics = httpx.get(f"{server.url}/metrics").text
        assert httpx.get(f"{server.url}/viewer/watch.html").status_code == 200
    groups = {GroupName(group["station"], group["view"]): group for group in report["groups"]}
    assert groups[ALL]["films"] == 4
    assert groups[ALL]["refused_30_days"] == 1
    assert groups[GroupName("other", "AP")]["films"] == 1
    assert 'cxrserve_watch_films_total{station="other",view="AP"} 1.0' in metrics
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert len(kept) > 1000
    for secret in ("SECRET", "19330102", "3680043.77", "1234567"):
        assert secret not in metrics
        assert secret not in str(report)
        assert secret.encode() not in kept


def test_a_film_never_waits_for_the_watch() -> None:
    """`observe` returns while the owner thread is busy with something else."""
    watch = Watch(None, Metrics(), key="bundle")
    observed = threading.Event()

    def observe() -> None:
        watch.observe(film(np.random.default_rng(0)))
        observed.set()

    with watch._lock:
        threading.Thread(target=observe).start()
        assert observed.wait(60)
    watch.flush()
    assert watch.report().groups[0].films == 1
    watch.close()
