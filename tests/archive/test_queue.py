"""The durable queue: claims, fencing, order, clocks that are set; and how soon a job begins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrserve.archive.jobs.alarm import Alarm
from cxrserve.archive.jobs.queue import DurableQueue, new_job
from cxrserve.archive.jobs.retries import RetryPolicy
from cxrserve.archive.storage.database import Database, sqlalchemy_url
from cxrserve.archive.storage.tables import JOBS

ALL = JOBS.c.kind == "commitment"
POLICY = RetryPolicy(max_pause_s=300, give_up_s=1000)
FAILED = {"slug": "not-delivered", "title": "", "detail": "", "final": False}


@pytest.fixture(params=["sqlite", "postgres"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    opened = Database(sqlalchemy_url(url, tmp_path / "index.db"), timeout_s=10)
    yield opened
    opened.close()


def insert(database: Database, *ids: str, stat: int = 0) -> None:
    for name in ids:
        with database.writing() as connection:
            connection.execute(JOBS.insert().values(new_job(id=name, kind="commitment", stat=stat)))


def test_each_job_is_claimed_once(database: Database) -> None:
    insert(database, "a", "b", "c")
    insert(database, "urgent", stat=1)
    first, second = DurableQueue(database, "first", POLICY), DurableQueue(database, "second", POLICY)
    assert [job.id for job in first.claim(ALL, 2)] == ["urgent", "a"]
    assert [job.id for job in second.claim(ALL, 9)] == ["b", "c"]
    assert first.claim(ALL, 9) == second.claim(ALL, 9) == []
    assert first.backlog() == []


def test_a_claim_that_was_taken_over_ends_nothing(database: Database) -> None:
    insert(database, "a")
    dead, heir = DurableQueue(database, "dead", POLICY), DurableQueue(database, "heir", POLICY)
    (old,) = dead.claim(ALL, 1)
    assert heir.take_over("another") == 0
    assert heir.take_over("dead") == 1
    (new,) = heir.claim(ALL, 1)
    assert (old.claims, new.claims) == (1, 2)
    assert dead.end(old, None) is None, "it was only taken for dead, and its claim is lost"
    assert heir.end(new, FAILED) == "waiting"
    assert heir.end(new, None) is None, "a try ends once"


def test_a_silent_node_is_forgotten_with_its_jobs_released(database: Database) -> None:
    insert(database, "a")
    pod, node = DurableQueue(database, "pod-x7k2", POLICY), DurableQueue(database, "node", POLICY)
    pod.beat()
    pod.claim(ALL, 1)
    assert node.beat() == {"pod-x7k2": 1}
    assert node.retire("pod-x7k2", 1) == 1
    assert node.beat() == {}
    assert [job.id for job in node.claim(ALL, 1)] == ["a"]


def test_a_node_that_was_only_slow_keeps_its_row_and_never_strands_a_job(database: Database) -> None:
    insert(database, "a", "b")
    slow, node = DurableQueue(database, "slow", POLICY), DurableQueue(database, "node", POLICY)
    slow.beat()
    slow.beat()
    assert node.retire("slow", 1) == 0
    assert node.beat() == {"slow": 2}, "it showed a heartbeat that nobody had seen"
    node.retire("slow", 2)
    slow.claim(ALL, 1)  # and dies before its next heartbeat
    assert node.beat() == {"slow": 0}
    assert node.retire("slow", 0) == 1
    assert node.beat() == {}


def test_a_failed_job_waits_and_is_given_up_in_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(database, "a")
    queue = DurableQueue(database, "node", POLICY)
    attempts, now = 0, time.time()
    while jobs := queue.claim(ALL, 1):
        state = queue.end(jobs[0], FAILED)
        assert queue.claim(ALL, 1) == []
        attempts += 1
        now += POLICY.max_pause_s
        monkeypatch.setattr(time, "time", lambda now=now: now)
    assert state == "dead"
    # Pauses of 1, 2, 4 … 256, 300 s, each shortened by up to a half, add up to 1000 s.
    assert 10 <= attempts <= 17


def test_a_clock_that_is_set_back_does_not_delay_a_retry(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(database, "a")
    queue = DurableQueue(database, "node", POLICY)
    assert queue.end(queue.claim(ALL, 1)[0], FAILED) == "waiting"
    earlier = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: earlier)
    (backlog,) = queue.backlog()
    assert queue.is_due(backlog.due)
    assert [job.id for job in queue.claim(ALL, 1)] == ["a"]


def test_no_pause_outlives_a_process(database: Database) -> None:
    insert(database, "a")
    with database.writing() as connection:
        connection.execute(JOBS.update().values(attempts=9, due=time.time() + 299))
    queue = DurableQueue(database, "node", POLICY)
    queue.forget_pauses()
    (backlog,) = queue.backlog()
    assert backlog.due < time.time() + 1.1


def test_the_earliest_alarm_rings() -> None:
    alarm = Alarm()
    assert not alarm.wait(0.01)
    alarm.ring(within_s=600)
    assert not alarm.wait(0.01)
    alarm.ring()
    assert alarm.wait(600)
    assert not alarm.wait(0.01), "it rings once"
    alarm.stop()
    assert alarm.wait(600)
