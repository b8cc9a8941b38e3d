"""How a caller says that nobody waits for the answer any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """The caller went away; what it had asked for was dropped."""


class Cancellation:
    """A switch that is thrown once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._then: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """True once it is thrown."""
        return self._cancelled

    def cancel(self) -> None:
        """Throw it. May be called again, from any thread."""
        with self._lock:
            self._cancelled = True
            called, self._then = self._then, []
        for then in called:
            then()

    @contextmanager
    def calling(self, then: Callable[[], None]) -> Iterator[None]:
        """Have `then` called once if it is thrown while the block lasts, or was before."""
        with self._lock:
            thrown = self._cancelled
            if not thrown:
                self._then.append(then)
        if thrown:
            then()
        try:
            yield
        finally:
            with self._lock:
                if then in self._then:
                    self._then.remove(then)
