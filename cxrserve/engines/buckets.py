"""Batches of fixed sizes for a GPU: which there are, which one takes N images, and the memory they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxrserve.bundle.contract import STRIDE
from cxrserve.findings import NAMES

# Pixels of the largest batch, and images of it: beyond, a batch takes in proportion to its images.
_MAX_PIXELS: Final = 2**24
_MAX_IMAGES: Final = 64
_F32_BYTES: Final = 4


def buckets_of(size: int) -> tuple[int, ...]:
    """Batch sizes that an engine of this size is built for: powers of two."""
    largest = max(1, min(_MAX_IMAGES, _MAX_PIXELS // size**2))
    return tuple(2**power for power in range(largest.bit_length()))


def split(images: int, buckets: tuple[int, ...]) -> list[tuple[int, int]]:
    """Split `images` into runs: (images, bucket) of each, in order; the last may not fill its bucket."""
    largest = buckets[-1]
    runs = [(largest, largest)] * (images // largest)
    if rest := images % largest:
        runs.append((rest, next(bucket for bucket in buckets if bucket >= rest)))
    return runs


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferPlan:
    """Bytes of one image of each tensor; buffers hold the largest bucket, and a smaller one uses their start.

    Only grey values of one byte go to the GPU: normalisation is in the graph.
    """

    image: int
    logits: int
    maps: int

    @classmethod
    def of(cls, size: int) -> BufferPlan:
        """The plan for a member of `size`."""
        cells = (size // STRIDE) ** 2
        return cls(image=size**2, logits=len(NAMES) * _F32_BYTES, maps=len(NAMES) * cells * _F32_BYTES)

    def bytes_of(self, bucket: int) -> dict[str, int]:
        """Bytes of each tensor of a batch, by its name in the graph."""
        return {"image": self.image * bucket, "logits": self.logits * bucket, "maps": self.maps * bucket}
