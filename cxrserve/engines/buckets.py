"""Batches of fixed sizes for a GPU: which there are, which one takes N images, and the memory they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxrserve.ensemble.bundle import STRIDE
from cxrserve.findings import NAMES

# Pixels of the largest batch, and images of it: beyond, a batch takes in proportion to its images.
_MOST_PIXELS: Final = 2**24
_MOST_IMAGES: Final = 64
_F32_BYTES: Final = 4


def buckets_of(size: int) -> tuple[int, ...]:
    """The numbers of images that an engine of this size is built for: 1, 2, 4, …"""
    most = max(1, min(_MOST_IMAGES, _MOST_PIXELS // size**2))
    return tuple(2**power for power in range(most.bit_length()))


def split(images: int, buckets: tuple[int, ...]) -> list[tuple[int, int]]:
    """How `images` are run: (images, bucket) of each run, in order; the last may not fill its bucket."""
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
