"""When failed jobs are tried again: pauses that double, with jitter, on a clock that nobody sets."""

from __future__ import annotations

import heapq
import random
import threading
import time
from typing import Final

_FIRST_PAUSE_S: Final = 1.0
_JITTER: Final = (
    0.5  # a pause is shortened by up to this part, so that what failed together does not return so
)


class Retries:
    """Jobs that wait for their next try, in this process's memory: a new process tries everything at once.

    Args:
        most_pause_s: the longest pause.
        give_up_s: pauses adding up to this end the trying.
    """

    def __init__(self, *, most_pause_s: float, give_up_s: float) -> None:
        self._most_pause_s: Final = most_pause_s
        self._give_up_s: Final = give_up_s
        self._lock: Final = threading.Lock()
        self._due: Final[list[tuple[float, str]]] = []
        self._known: Final[set[str]] = set()

    def pause_s(self, attempt: int) -> float:
        """The pause after try number `attempt`."""
        pause = min(self._most_pause_s, _FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 30))
        return pause * (1 - _JITTER * random.random())  # noqa: S311 - no secret

    def over(self, tried_s: float) -> bool:
        """True where enough time was spent trying."""
        return tried_s >= self._give_up_s

    def later(self, job: str, pause_s: float) -> None:
        """Let `job` be due in `pause_s`; a job that waits already keeps its time."""
        with self._lock:
            if job not in self._known:
                self._known.add(job)
                heapq.heappush(self._due, (time.monotonic() + pause_s, job))

    def due(self) -> list[str]:
        """Jobs whose pause is over; each is given out once."""
        now, found = time.monotonic(), []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                job = heapq.heappop(self._due)[1]
                self._known.discard(job)
                found.append(job)
        return found
