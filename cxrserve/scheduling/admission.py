"""Admission control: refuses a request that would need too much memory or wait too long.

A reservation is made before the bytes of a request are read, so that a client that is refused sends nothing.
It holds memory for the upload and, for an image, a position in the queue. Later requests count that position
as ahead of them for `RESERVATION_S`, the time of an upload at usual speed; a slower upload asks for another
position when it is complete.

Callers with a queue of their own (the archive, the command line) make no reservation and are never refused:
their number of threads bounds what they have inside.
"""

from __future__ import annotations

import math
import threading
import time
from types import TracebackType
from typing import Final, NamedTuple, Self

from cxrserve.errors import EngineLost, NotReady, Overloaded, QueueTooLong, Stopping
from cxrserve.scheduling.queue import Position, Priority
from cxrserve.scheduling.wait_estimate import WaitEstimator

# Other requests count a reserved position as ahead of them, so a slow upload must not hold it for long.
RESERVATION_S: Final = 1.0


class WaitLimit(NamedTuple):
    """The longest expected wait that is admitted, and the setting that defines it."""

    seconds: float
    setting: str

    def check(self, wait_s: float) -> None:
        """Refuse a wait longer than the limit. No wait at all is always admitted.

        Raises:
            QueueTooLong: with the time after which the wait will be short enough if no other image comes.
        """
        limit_s = max(0.0, self.seconds)
        if wait_s > limit_s:
            raise QueueTooLong(
                f"a new image would wait {wait_s:.1f} s for the engines; the limit is {limit_s:.3g} s "
                f"({self.setting}). Try again later, or send the image as stat if it is urgent.",
                retry_after_s=max(1, math.ceil(wait_s - limit_s)),
            )


class Reservation:
    """Memory for one request and, for an image, a position in the queue; a context manager.

    Made by `AdmissionController.reserve`. `Batcher.admit` takes the position.

    Attributes:
        position: None for a request without an image, and once an image has taken it.
        limit: None for a request without an image.
    """

    def __init__(
        self,
        admission: AdmissionController,
        position: Position | None,
        priority: Priority,
        limit: WaitLimit | None,
    ) -> None:
        self._admission: Final = admission
        self.position = position
        self.priority: Final = priority
        self.limit: Final = limit
        self.released = False
        self._kept = False

    def confirm(self) -> None:
        """Report that the upload is complete. If the position has expired, ask for another.

        Raises:
            QueueTooLong: the expected wait is now longer than the limit.
            EngineLost, Stopping: see `AdmissionController.check_open`.
        """
        self._admission.confirm(self)

    def keep(self) -> None:
        """Hold the reservation beyond the end of the `with` block, until `release`."""
        self._kept = True

    def release(self) -> None:
        """Give back the memory, and the position unless an image has taken it. Idempotent."""
        self._admission.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self.release()


class AdmissionController:
    """Decides whether a request may enter, and hands out positions in the queue. Thread-safe.

    It is starting until `open`, and ends with `close` or `fail`. Until `open` it reserves memory alone.

    Args:
        max_requests: reservations at once.
        stat_lead_s: the head start of stat over routine.

    Attributes:
        lock: guards the queue as well; the batcher uses it, and may hold it around calls.
    """

    def __init__(self, *, max_requests: int, stat_lead_s: float) -> None:
        self.lock: Final = threading.Condition()
        self._max_requests: Final = max_requests
        self._stat_lead_s: Final = stat_lead_s
        self._estimator: WaitEstimator | None = None
        self._reserved = 0
        self._last_number = 0
        self._closed = False
        self._failure: EngineLost | None = None

    def open(self, estimator: WaitEstimator) -> None:
        """Admit images from now on; `estimator` tells how long they will wait."""
        with self.lock:
            self._estimator = estimator

    def close(self) -> None:
        """Admit no more images. Idempotent."""
        with self.lock:
            self._closed = True

    def fail(self, error: EngineLost) -> None:
        """Admit no more images because a device failed permanently; the first error counts."""
        with self.lock:
            self._failure = self._failure or error

    @property
    def failure(self) -> EngineLost | None:
        """The error of a device that failed permanently, if there is one."""
        return self._failure

    def check_open(self) -> None:
        """Check that images are admitted.

        Raises:
            EngineLost: a device failed permanently.
            Stopping: the service is stopping.
        """
        if self._failure is not None:
            raise EngineLost(self._failure.detail)
        if self._closed:
            raise Stopping("the service is stopping.")

    def reserve(self, *, priority: Priority = "routine", limit: WaitLimit | None = None) -> Reservation:
        """Reserve memory for one request and, if `limit` is given, a position for its first image.

        Raises:
            QueueTooLong: the image would be expected to wait longer than `limit`.
            Overloaded: `max_requests` are inside.
            EngineLost, Stopping, NotReady: no image is admitted; only if `limit` is given.
        """
        with self.lock:
            now_s = time.monotonic()
            position = None if limit is None else self._position_within(limit, priority, now_s)
            if self._reserved >= self._max_requests:
                raise Overloaded(
                    f"{self._reserved} requests are inside, the maximum of this service "
                    "(CXRSERVE_MAX_WAITING). Try again later.",
                    retry_after_s=self.retry_after_s(self._reserved),
                )
            if position is not None:
                self._join(position, until_s=now_s + RESERVATION_S, all_scales=True)
            self._reserved += 1
            return Reservation(self, position, priority, limit)

    def confirm(self, reservation: Reservation) -> None:
        """See `Reservation.confirm`."""
        if reservation.limit is None:
            return
        with self.lock:
            self.check_open()
            now_s, position = time.monotonic(), reservation.position
            if position is None or not self._opened().is_expected(position, now_s):
                self._release_position(reservation)
                position = self._position_within(reservation.limit, reservation.priority, now_s)
                reservation.position = position
            self._join(position, until_s=math.inf, all_scales=True)

    def release(self, reservation: Reservation) -> None:
        """See `Reservation.release`."""
        with self.lock:
            if not reservation.released:
                reservation.released = True
                self._reserved -= 1
            self._release_position(reservation)

    def take_position(
        self, reservation: Reservation | None, priority: Priority, *, all_scales: bool
    ) -> Position:
        """Take the position of `reservation` for an image, or the last if there is none.

        Args:
            all_scales: False for an image that may need only some of its scales.
        """
        with self.lock:
            position = None
            if reservation is not None:
                position, reservation.position = reservation.position, None
            position = position or self._last_position(priority, time.monotonic())
            self._join(position, until_s=math.inf, all_scales=all_scales)
            return position

    def wait_s(self, priority: Priority) -> float:
        """Seconds until the engines would start a new image."""
        with self.lock:
            now_s = time.monotonic()
            return self._opened().wait_s(self._last_position(priority, now_s), now_s)

    def image_s(self) -> float:
        """Seconds per image at present throughput; 0 before `open`."""
        with self.lock:
            return 0.0 if self._estimator is None else self._estimator.image_s

    def retry_after_s(self, images: int) -> int:
        """Whole seconds that `images` will take, at least 1."""
        return max(1, math.ceil(images * self.image_s()))

    def decoded(self, position: Position, seconds: float) -> None:
        """Note that the image at `position` has been decoded, and the time it took."""
        with self.lock:
            self._opened().decoded(position, seconds)

    def _opened(self) -> WaitEstimator:
        if self._estimator is None:
            raise NotReady("the model is being loaded. Try again later.")
        return self._estimator

    def _position_within(self, limit: WaitLimit, priority: Priority, now_s: float) -> Position:
        self.check_open()
        position = self._last_position(priority, now_s)
        limit.check(self._opened().wait_s(position, now_s))
        return position

    def _last_position(self, priority: Priority, now_s: float) -> Position:
        due_s = now_s + (priority == "routine") * self._stat_lead_s
        return Position(due_s=due_s, number=self._last_number + 1)

    def _join(self, position: Position, *, until_s: float, all_scales: bool) -> None:
        self._last_number = max(self._last_number, position.number)
        self._opened().join(position, until_s=until_s, all_scales=all_scales)

    def _release_position(self, reservation: Reservation) -> None:
        position, reservation.position = reservation.position, None
        if position is not None:
            self._opened().leave(position)
