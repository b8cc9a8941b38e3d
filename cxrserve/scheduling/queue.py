"""The queue in front of the engines: order and batches. No threads here; the batcher holds a lock.

The order is by image, not by scale: the scales of the oldest image come first, so complete answers leave one
after another instead of all at the end. On one device this makes the mean latency minimal for equal images.
No scale can starve, since each image waits only for images before it. Where a batch pays, the same scale of
the images behind is taken with it.

`stat` goes before `routine` by a head start: a routine image is queued as if it had come `stat_lead_s` later.
So a stat image overtakes the routine images that came less than that before it, and no image waits for ever:
later images cannot pass its position.
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
class Position:
    """An image's position in the queue; the smallest is next.

    Attributes:
        due_s: arrival time on `time.monotonic`; for routine, plus the head start of stat.
        number: breaks ties, in order of arrival.
    """

    due_s: float
    number: int


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class ScaleTask:
    """One scale of one image, waiting for an engine.

    Attributes:
        image_SS: uint8 [S, S].
        future: receives the Output of this one image.
        queued_s: time it was queued, on `time.monotonic`.
        deadline_s: time after which it is dropped, on `time.monotonic`.
    """

    position: Position
    size: int
    image_SS: NDArray[np.uint8] = field(compare=False)
    future: Future[Output] = field(compare=False)
    queued_s: float = field(compare=False)
    deadline_s: float = field(compare=False)
    priority: Priority = field(compare=False)


class RequestQueue:
    """One queue for each size, each ordered by the positions of the images."""

    def __init__(self, sizes: Collection[int]) -> None:
        self._queues: Final[dict[int, list[ScaleTask]]] = {size: [] for size in sizes}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def depth(self, size: int) -> int:
        """Number of waiting tasks of `size`."""
        return len(self._queues[size])

    def add(self, task: ScaleTask) -> None:
        """Insert `task` at its position."""
        bisect.insort(self._queues[task.size], task)

    def head(self) -> ScaleTask | None:
        """The next task: the smallest waiting scale of the first image."""
        return min((queue[0] for queue in self._queues.values() if queue), default=None)

    def take(self, size: int, count: int) -> list[ScaleTask]:
        """Remove and return the first `count` tasks of `size`, or fewer if fewer wait."""
        queue = self._queues[size]
        tasks, queue[:count] = queue[:count], []
        return tasks

    def drop(self, position: Position) -> list[ScaleTask]:
        """Remove and return the tasks of the image at `position`."""
        return self._remove(lambda task: task.position == position)

    def drop_late(self, now_s: float) -> list[ScaleTask]:
        """Remove and return the tasks whose deadline has passed."""
        return self._remove(lambda task: task.deadline_s <= now_s)

    def drop_all(self) -> list[ScaleTask]:
        """Remove and return all tasks."""
        return self._remove(lambda task: True)

    def _remove(self, unwanted: Callable[[ScaleTask], bool]) -> list[ScaleTask]:
        removed: list[ScaleTask] = []
        for queue in self._queues.values():
            removed += filter(unwanted, queue)
            queue[:] = [task for task in queue if not unwanted(task)]
        return removed
