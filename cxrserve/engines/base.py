"""The engine protocol: one member of the ensemble, ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import STRIDE
from cxrserve.errors import BundleError
from cxrserve.findings import NAMES

ActualPrecision = Literal["f32", "bf16", "fp16", "int8", "mixed"]
Shape = tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Output of a member: `logits_NF` float32 [N, 14], `maps_NFhw` float32 [N, 14, S/32, S/32].

    Attributes:
        seconds: duration of the run; 0 if it was not measured.
    """

    logits_NF: NDArray[np.float32]
    maps_NFhw: NDArray[np.float32]
    seconds: float = 0.0

    def of_image(self, position: int, seconds: float) -> Output:
        """The Output of the image at `position` alone, with N = 1."""
        image = slice(position, position + 1)
        return Output(logits_NF=self.logits_NF[image], maps_NFhw=self.maps_NFhw[image], seconds=seconds)


class Engine(Protocol):
    """One member, compiled for this machine. Not thread-safe: only one worker thread calls it.

    The output for an image depends on no other image. On a GPU the number of images of a run decides which
    kernels add up: the same image may get logits that differ in their last digits, alone and in a batch.

    Attributes:
        max_images: how many images one run gains from; 1 where a batch is no faster than its images one by
            one. `run` takes any number all the same.
    """

    name: str
    precision: ActualPrecision
    max_images: int

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """Run on uint8 [N, 1, S, S]."""
        ...

    def replica(self) -> Engine | None:
        """The same member for another worker thread, which runs it in parallel; both share the weights.

        None if its device has only one worker: a GPU runs batches, not streams, and the engine's buffers
        hold one batch.
        """
        ...


def check_signature(
    size: int, inputs: dict[str, tuple[str, Shape]], outputs: dict[str, tuple[str, Shape]]
) -> None:
    """Compare a graph's inputs and outputs, by name (type, shape), with the contract of a member of `size`.

    A None in a shape is a free axis.

    Raises:
        BundleError: on any difference; shows both sides.
    """
    cells = size // STRIDE
    expected_in: dict[str, tuple[str, Shape]] = {"image": ("uint8", (None, 1, size, size))}
    expected_out: dict[str, tuple[str, Shape]] = {
        "logits": ("float32", (None, len(NAMES))),
        "maps": ("float32", (None, len(NAMES), cells, cells)),
    }
    for side, actual, expected in (("inputs", inputs, expected_in), ("outputs", outputs, expected_out)):
        if set(actual) != set(expected) or not all(_agree(actual[name], expected[name]) for name in expected):
            raise BundleError(
                f"the member of size {size} has the {side} {actual}, the contract needs {expected} "
                "(None: any number of images)"
            )


def _agree(actual: tuple[str, Shape], expected: tuple[str, Shape]) -> bool:
    (found_type, found_shape), (expected_type, expected_shape) = actual, expected
    return (
        found_type == expected_type
        and len(found_shape) == len(expected_shape)
        and all(
            want is None or have is None or have == want
            for have, want in zip(found_shape, expected_shape, strict=True)
        )
    )
