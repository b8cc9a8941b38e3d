"""Alarm clock that one thread sleeps on and others set: the end of polling within a process."""

from __future__ import annotations

import math
import threading
import time
from typing import Final


class Alarm:
    """Rings at the earliest time that anybody has asked for. Thread-safe; one thread waits."""

    def __init__(self) -> None:
        self._condition: Final = threading.Condition()
        self._at = math.inf
        self._stopped = False

    def ring(self, within_s: float = 0.0) -> None:
        """Wake the waiting thread in `within_s` seconds, or earlier where it was to wake before."""
        at = time.monotonic() + within_s
        with self._condition:
            if at < self._at:
                self._at = at
                self._condition.notify()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it rings, for `timeout_s` at the most; True where it rang."""
        until = time.monotonic() + timeout_s
        with self._condition:
            while not self._stopped and (left := min(self._at, until) - time.monotonic()) > 0:
                self._condition.wait(left)
            rang = self._stopped or self._at <= time.monotonic()
            if rang:
                self._at = math.inf
            return rang

    def stop(self) -> None:
        """Wake the waiting thread for good. Idempotent."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    @property
    def stopped(self) -> bool:
        """True after `stop`."""
        return self._stopped
