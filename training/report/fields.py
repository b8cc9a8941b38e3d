"""The receptive fields of a bundle's members: theoretical and effective, from the files that serve.

Legend: S side of the image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from training.networks import MapNetwork
from training.receptive_field import effective_field, energy_radius
from training.report.evaluation import FieldResult
from training.report.graph import GraphNetwork
from training.samples import Samples

# A gradient through a full-width network at 2048 takes half a minute on a CPU.
MOST_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredField:
    """`field_SS` float64 [S, S], the mean squared gradient, and what it comes to."""

    field_SS: NDArray[np.float64]
    result: FieldResult


def measure_field(model: bytes, size: int, samples: Samples, images: int) -> MeasuredField:
    """The fields of the member `model` of `size`, on the first `images` of `samples`.

    After `MOST_SECONDS` no further image is begun.

    Raises:
        ValueError: the graph holds an operation that is not known here.
    """
    network = GraphNetwork(model)
    used = _until(samples.level(size)[:images], time.monotonic() + MOST_SECONDS)
    counted = _Counted(used)
    # It has the features and the parameters of one, which is all that is asked for.
    field_SS = effective_field(cast(MapNetwork, network), counted)
    side = network.theoretical_field().size
    return MeasuredField(
        field_SS=field_SS,
        result=FieldResult(
            theoretical=None if math.isinf(side) else round(side),
            radius_50=energy_radius(field_SS, 0.5),
            radius_95=energy_radius(field_SS, 0.95),
            images=counted.count,
        ),
    )


def _until(images_NSS: NDArray[np.uint8], deadline: float) -> Iterator[NDArray[np.uint8]]:
    for index, image_SS in enumerate(images_NSS):
        if index and time.monotonic() > deadline:
            return
        yield np.ascontiguousarray(image_SS)


class _Counted:
    """Passes images on and counts them."""

    def __init__(self, images: Iterator[NDArray[np.uint8]]) -> None:
        self._images = images
        self.count = 0

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for image in self._images:
            self.count += 1
            yield image
