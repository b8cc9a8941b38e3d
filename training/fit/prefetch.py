"""Reading ahead: the next batches come off the disk while the GPU learns from this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import torch

from training.fit.batches import Batch, TrainingBatches, ValidationBatches

# Batches that are read and not yet learnt from.
DEPTH: Final = 2


@dataclass(frozen=True, slots=True)
class Prefetch:
    """`batches` in their order, read by one thread, in memory that a GPU copies from without waiting.

    A thread is enough: pixels are copied out of a memory-mapped array, with no decoding and outside Python's
    lock.
    """

    batches: TrainingBatches | ValidationBatches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        reading = iter(self.batches)
        with ThreadPoolExecutor(1) as thread:
            pending: deque[Future[Batch | None]] = deque(thread.submit(_next, reading) for _ in range(DEPTH))
            while (batch := pending.popleft().result()) is not None:
                pending.append(thread.submit(_next, reading))
                yield batch


def _next(reading: Iterator[Batch]) -> Batch | None:
    batch = next(reading, None)
    if batch is None or not torch.cuda.is_available():
        return batch
    return batch._replace(images=batch.images.pin_memory())
