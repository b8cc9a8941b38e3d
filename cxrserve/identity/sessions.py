"""Sessions of signed-in users, in memory: a restart ends them all."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cxrserve.identity.clients import Client

_MAX_SESSIONS: Final = 10_000


@dataclass(slots=True)
class _Session:
    client: Client
    ends_s: float
    used_s: float


class Sessions:
    """Sessions by the SHA-256 of their ids, so that memory holds none that could be used. Not thread-safe.

    Args:
        session_s: maximum time of a session.
        idle_s: a session without requests for this long ends.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self, *, session_s: float, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session_s: Final = session_s
        self._idle_s: Final = idle_s
        self._clock: Final = clock
        self._by_hash: Final[OrderedDict[str, _Session]] = OrderedDict()  # the oldest first

    def start(self, client: Client) -> str:
        """Start a session; returns its id, 256 random bits. The oldest ends where there are too many."""
        session_id, now_s = secrets.token_urlsafe(32), self._clock()
        self._by_hash[_hash(session_id)] = _Session(client, now_s + self._session_s, now_s)
        if len(self._by_hash) > _MAX_SESSIONS:
            self._by_hash.popitem(last=False)
        return session_id

    def find(self, session_id: str) -> Client | None:
        """The user of a session; None if there is no such session, or it has ended."""
        key = _hash(session_id)
        session = self._by_hash.get(key)
        if session is None:
            return None
        now_s = self._clock()
        if now_s > session.ends_s or now_s - session.used_s > self._idle_s:
            del self._by_hash[key]
            return None
        session.used_s = now_s
        return session.client

    def end(self, session_id: str) -> None:
        """End a session. Idempotent."""
        self._by_hash.pop(_hash(session_id), None)


def _hash(session_id: str) -> str:
    return sha256(session_id.encode("utf-8", "surrogateescape")).hexdigest()
