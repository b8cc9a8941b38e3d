"""One image on its way through the engines, from its admission to its answer, and its cancellation token."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from cxrserve.engines.base import Output
from cxrserve.errors import DeadlineExceeded
from cxrserve.scheduling.queue import Position, Priority


class Cancelled(Exception):
    """The caller cancelled its request; the work that was waiting has been dropped."""


class Cancellation:
    """Cancellation token: set once, runs registered callbacks. Thread-safe."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Set the token and run the callbacks. May be called again, from any thread."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Run `callback` once if the token is set during the block, or was set before."""
        with self._lock:
            already = self._cancelled
            if not already:
                self._callbacks.append(callback)
        if already:
            callback()
        try:
            yield
        finally:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)


class ImageRequest:
    """One admitted image. Made by `Batcher.admit`, which also removes it.

    Attributes:
        deadline_s: end of the time it may take, on `time.monotonic`.
        decoding: True until its first scale is submitted.
        dropped: the error that its waiting scales failed with, if they were dropped.
    """

    def __init__(
        self, position: Position, priority: Priority, deadline_s: float, cancellation: Cancellation
    ) -> None:
        self.position: Final = position
        self.priority: Final = priority
        self.deadline_s: Final = deadline_s
        self.cancellation: Final = cancellation
        self.decoding = True
        self.dropped: BaseException | None = None

    @property
    def left_s(self) -> float | None:
        """Time left, for calls that take a timeout: None for no limit."""
        return None if math.isinf(self.deadline_s) else max(0.0, self.deadline_s - time.monotonic())

    def check(self) -> None:
        """Check that the answer is still wanted.

        Raises:
            Cancelled: the caller cancelled.
            DeadlineExceeded: the deadline has passed.
        """
        if self.cancellation.cancelled:
            raise Cancelled
        if time.monotonic() >= self.deadline_s:
            raise too_late()

    def result(self, future: Future[Output]) -> Output:
        """Wait for a future of `Batcher.submit`, until the deadline.

        Raises:
            DeadlineExceeded: the deadline has passed.
            and whatever the future raises, see `Batcher.submit`.
        """
        try:
            return future.result(self.left_s)
        except TimeoutError:
            raise too_late() from None


def too_late() -> DeadlineExceeded:
    """The error for an image whose deadline has passed."""
    return DeadlineExceeded(
        "the engines did not reach this image in time (CXRSERVE_REQUEST_TIMEOUT_S). Try again later."
    )
