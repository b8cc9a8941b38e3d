"""A job: one image on its way through the engines, from its admission to its answer."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import Output
from cxrserve.ensemble.cancellation import Cancellation, Cancelled
from cxrserve.ensemble.line import Place, Priority
from cxrserve.errors import CxrserveError, DeadlineExceeded


class Owner(Protocol):
    """Who runs what is submitted: the Batcher."""

    def submit(self, job: Job, size: int, image_SS: NDArray[np.uint8]) -> Future[Output]:
        """Queue one scale."""
        ...

    def drop(self, job: Job, error: BaseException, reason: str) -> None:
        """Let what waits of `job` fail with `error`."""
        ...

    def leave(self, job: Job) -> None:
        """The job is over."""
        ...


class Job:
    """One image from its admission to its answer; a context manager. Made by `Batcher.admit`."""

    def __init__(
        self, batcher: Owner, place: Place, priority: Priority, deadline_s: float, cancelled: Cancellation
    ) -> None:
        self._batcher: Final = batcher
        self.place: Final = place
        self.priority: Final = priority
        self.deadline_s: Final = deadline_s
        self._cancelled: Final = cancelled
        self.on_its_way = True  # nothing submitted yet
        self.dropped: BaseException | None = None
        self._inside: Final = ExitStack()

    def __enter__(self) -> Self:
        self._inside.enter_context(
            self._cancelled.calling(lambda: self._batcher.drop(self, Cancelled(), "cancelled"))
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; whatever of the image still waits is dropped."""
        self._inside.close()
        self._batcher.leave(self)

    @property
    def left_s(self) -> float | None:
        """Time left, for calls that take a timeout: None for no limit."""
        return None if math.isinf(self.deadline_s) else max(0.0, self.deadline_s - time.monotonic())

    def check(self) -> None:
        """Go on?

        Raises:
            Cancelled: nobody waits for it.
            DeadlineExceeded: it is too late.
        """
        if self._cancelled.cancelled:
            raise Cancelled
        if time.monotonic() >= self.deadline_s:
            raise too_late()

    def submit(self, size: int, image_SS: NDArray[np.uint8]) -> Future[Output]:
        """Queue one scale: uint8 [S, S]. The future holds the Output of one image (N = 1), or raises

        DeadlineExceeded: it did not run in time; Cancelled: nobody waits; NotReady: the service stops;
        or whatever the engine raised.
        """
        return self._batcher.submit(self, size, image_SS)

    def result(self, future: Future[Output]) -> Output:
        """Wait for `future`, as long as the image has time.

        Raises:
            DeadlineExceeded, Cancelled, NotReady: see `submit`.
        """
        try:
            return future.result(self.left_s)
        except TimeoutError:
            raise too_late() from None


def too_late() -> CxrserveError:
    """What is told of an image whose time is over."""
    return DeadlineExceeded(
        "the engines did not reach this image in time (CXRSERVE_REQUEST_TIMEOUT_S). Try again later."
    )
