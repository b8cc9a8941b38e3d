"""Sessions end: after their time, when idle, by signing out, and when there are too many."""

from __future__ import annotations

from cxrserve.identity.clients import Client
from cxrserve.identity.sessions import _MAX_SESSIONS, Sessions

USER = Client(name="ruth", scopes=frozenset({"read"}))


def test_a_session_ends_after_its_time_even_if_it_is_used() -> None:
    now_s = 0.0
    sessions = Sessions(session_s=100, idle_s=30, clock=lambda: now_s)
    session_id = sessions.start(USER)
    for now_s in range(0, 101, 20):  # noqa: B007
        assert sessions.find(session_id) == USER
    now_s = 101
    assert sessions.find(session_id) is None


def test_an_idle_session_ends() -> None:
    now_s = 0.0
    sessions = Sessions(session_s=100, idle_s=30, clock=lambda: now_s)
    session_id = sessions.start(USER)
    now_s = 31.0
    assert sessions.find(session_id) is None
    now_s = 0.0
    assert sessions.find(session_id) is None


def test_signing_out_ends_one_session_alone() -> None:
    sessions = Sessions(session_s=100, idle_s=30)
    first, second = sessions.start(USER), sessions.start(USER)
    assert first != second
    sessions.end(first)
    sessions.end(first)
    assert sessions.find(first) is None
    assert sessions.find(second) == USER
    assert sessions.find("") is None


def test_the_oldest_session_ends_where_there_are_too_many() -> None:
    sessions = Sessions(session_s=100, idle_s=30)
    ids = [sessions.start(USER) for _ in range(_MAX_SESSIONS + 1)]
    assert sessions.find(ids[0]) is None
    assert sessions.find(ids[1]) == sessions.find(ids[-1]) == USER
