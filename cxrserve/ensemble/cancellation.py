"""How a caller says that nobody waits for the answer any more."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Cancelled(Exception):
    """The caller went away; what it had asked for was dropped."""


class Cancellation:
    """A switch that is thrown once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._then: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """True once it is thrown."""
        return self._cancelled

    def cancel(self) -> None:
        """Throw it. May be called again, from any thread."""
        with self._lock:
            self._cancelled = True
            then, self._then = self._then, None
        if then is not None:
            then()

    def call(self, then: Callable[[], None] | None) -> None:
        """Have `then` called once when it is thrown, at once where it is; it takes the place of the last."""
        with self._lock:
            if then is None or not self._cancelled:
                self._then = then
                return
        then()
