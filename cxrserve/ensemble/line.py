"""The line in front of the engines: who is next, and with whom. No threads here: its owner holds a lock.

The order is by image, not by scale: the scales of the oldest image come first, so whole answers leave one
after another instead of all at the end, and on one device that makes the mean latency the least there is
for equal images. Scales cannot starve each other, since each image waits only for images before it. Where
a batch pays, the same scale of the images behind rides along.

`stat` goes before `routine` by a head start: a routine image takes its place as if it had come `stat_lead_s`
later. So a stat image overtakes those that came less than that before it, and none waits for ever: whatever
comes later than its place cannot pass it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import Output

Priority = Literal["stat", "routine"]
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Place:
    """An image's place in the line; the smaller, the sooner.

    Attributes:
        due_s: when it came, on `time.monotonic`, and for routine the head start of stat on top.
        number: breaks ties: as they came.
    """

    due_s: float
    number: int


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Part:
    """One scale of one image, waiting.

    Attributes:
        image_SS: uint8 [S, S].
        future: gets the scale's Output of one image.
        queued_s: since when it waits, on `time.monotonic`.
        deadline_s: when it is of no use any more.
    """

    place: Place
    size: int
    image_SS: NDArray[np.uint8] = field(compare=False)
    future: Future[Output] = field(compare=False)
    queued_s: float = field(compare=False)
    deadline_s: float = field(compare=False)
    priority: Priority = field(compare=False)


class Line:
    """A queue for each size, each in the order of its images' places."""

    def __init__(self, sizes: Collection[int]) -> None:
        self._queues: Final[dict[int, list[Part]]] = {size: [] for size in sizes}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def depth(self, size: int) -> int:
        """Parts of `size` that wait."""
        return len(self._queues[size])

    def add(self, part: Part) -> None:
        """Queue `part` at its place."""
        bisect.insort(self._queues[part.size], part)

    def head(self) -> Part | None:
        """The part whose turn it is: the smallest scale waiting of the first image in the line."""
        return min((queue[0] for queue in self._queues.values() if queue), default=None)

    def take(self, size: int, most: int) -> list[Part]:
        """Take out the first `most` parts of `size`."""
        queue = self._queues[size]
        taken, queue[:most] = queue[:most], []
        return taken

    def drop(self, place: Place) -> list[Part]:
        """Take out whatever waits of the image at `place`."""
        return self._take_out(lambda part: part.place == place)

    def drop_late(self, now_s: float) -> list[Part]:
        """Take out what is past its deadline."""
        return self._take_out(lambda part: part.deadline_s <= now_s)

    def drop_all(self) -> list[Part]:
        """Take out everything."""
        return self._take_out(lambda part: True)

    def _take_out(self, unwanted: Callable[[Part], bool]) -> list[Part]:
        taken: list[Part] = []
        for queue in self._queues.values():
            taken += filter(unwanted, queue)
            queue[:] = [part for part in queue if not unwanted(part)]
        return taken
