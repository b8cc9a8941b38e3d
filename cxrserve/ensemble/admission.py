"""Admission: who is let in, by how long it would wait; the places in the line, and the claims on them.

A claim is made before an image's bytes are read, so that whoever would wait too long is told at once and
sends nothing. It counts as ahead of those who come later, and is kept for an upload of usual speed; a slower
one asks again when it is whole. Work that has a line of its own (the archive, the command line) makes no
claim and is never refused for its wait.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Final

from cxrserve.ensemble.backlog import Backlog
from cxrserve.ensemble.claim import HOLD_S, Claim, Limit
from cxrserve.ensemble.line import Place, Priority
from cxrserve.errors import EngineLost, NotReady


class Admission:
    """The door to the line. Thread-safe: it shares the lock of the line's owner.

    Args:
        lock: the owner's, which may hold it around calls.
        stat_lead_s: the head start of stat before routine.

    Attributes:
        closing: True once nobody is let in any more.
        lost: why nobody is, where a device has failed for good.
    """

    def __init__(self, backlog: Backlog, lock: threading.Condition, *, stat_lead_s: float) -> None:
        self._backlog: Final = backlog
        self._lock: Final = lock
        self._stat_lead_s: Final = stat_lead_s
        self._joined = 0
        self.closing = False
        self.lost: EngineLost | None = None

    def check_open(self) -> None:
        """Is anybody let in?

        Raises:
            EngineLost: a device has failed for good.
            NotReady: the service is stopping.
        """
        if self.lost is not None:
            raise EngineLost(self.lost.detail)
        if self.closing:
            raise NotReady("the service is stopping.")

    def claim(self, *, priority: Priority, limit: Limit) -> Claim:
        """A place for an image whose bytes are still coming, to be used as a context manager.

        Raises:
            LineTooLong: at once, where it would be expected to wait longer than `limit`.
            NotReady: the service is stopping.
        """
        with self._lock:
            return Claim(self, self._claimed(priority, limit, hold_s=HOLD_S), priority, limit)

    def confirm(self, claim: Claim) -> None:
        """See `Claim.confirm`."""
        with self._lock:
            self.check_open()
            if claim.place is not None and self._backlog.holds(claim.place, time.monotonic()):
                self._backlog.join(claim.place, until_s=math.inf, whole=True)
                return
            self.release(claim)
            claim.place = self._claimed(claim.priority, claim.limit, hold_s=math.inf)

    def release(self, claim: Claim) -> None:
        """The place of `claim` is free, where no image has taken it."""
        with self._lock:
            place, claim.place = claim.place, None
            if place is not None:
                self._backlog.leave(place)

    def take(self, claim: Claim | None, priority: Priority, *, whole: bool) -> Place:
        """The place of `claim`, where there is one that no image has taken; else the last.

        Args:
            whole: False for an image that may do with some of its scales.
        """
        with self._lock:
            place, now_s = None, time.monotonic()
            if claim is not None:
                place, claim.place = claim.place, None
            place = place or self._next(priority, now_s)
            self._join(place, until_s=math.inf, whole=whole)
            return place

    def wait_s(self, priority: Priority) -> float:
        """Seconds until the engines would begin with an image that comes now."""
        with self._lock:
            now_s = time.monotonic()
            return self._backlog.wait_s(self._next(priority, now_s), now_s)

    def image_s(self) -> float:
        """Seconds in which one image more is read, by what images took of late."""
        with self._lock:
            return self._backlog.image_s

    def retry_after_s(self, images: int) -> int:
        """Whole seconds that `images` will take, at least 1."""
        return max(1, math.ceil(images * self.image_s()))

    def decoded(self, place: Place, seconds: float) -> None:
        """A decoder has done with the image at `place`, in so many seconds."""
        with self._lock:
            self._backlog.decoded(place, seconds)

    def _claimed(self, priority: Priority, limit: Limit, *, hold_s: float) -> Place:
        self.check_open()
        now_s = time.monotonic()
        place = self._next(priority, now_s)
        limit.check(self._backlog.wait_s(place, now_s))
        self._join(place, until_s=now_s + hold_s, whole=True)
        return place

    def _next(self, priority: Priority, now_s: float) -> Place:
        return Place(due_s=now_s + (priority == "routine") * self._stat_lead_s, number=self._joined + 1)

    def _join(self, place: Place, *, until_s: float, whole: bool) -> None:
        self._joined = max(self._joined, place.number)
        self._backlog.join(place, until_s=until_s, whole=whole)
