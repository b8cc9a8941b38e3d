"""Estimate of the wait for the engines. No threads here; the admission controller holds a lock.

The estimate is a time, not a number of images. It uses the time one image takes at each scale (measured at
warm-up, then continuously), the batches that are running, and the images ahead in the queue. A step that was
never measured counts as 0 s, so that no request is refused for lack of a measurement. Engines and decoders
work in parallel; an image waits for the slower of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cxrserve.scheduling.queue import Position

# Weight of the newest measurement once there are a few; the first ones count alike. The figure of the warm-up
# does not count: a first run is slower than later ones.
_NEWEST_WEIGHT: Final = 0.2


class _RunningMean:
    """An exponential running mean that starts from a guess."""

    def __init__(self, guess: float) -> None:
        self.mean = guess
        self._count = 0

    def add(self, value: float) -> None:
        self._count += 1
        self.mean += max(_NEWEST_WEIGHT, 1 / self._count) * (value - self.mean)


@dataclass(kw_only=True, slots=True)
class _Image:
    """The remaining work for one image.

    Attributes:
        sizes: the scales that have not started to run.
        all_scales: True if all of them will be run; a triage stops as early as it may.
        decoded: True once its pyramid is ready.
        until_s: time at which its position expires if its upload is not complete, on the clock of `now_s`.
    """

    sizes: set[int]
    all_scales: bool
    decoded: bool = False
    until_s: float


class WaitEstimator:
    """Keeps account of the work inside and estimates how long a new image would wait.

    Args:
        expected_s: seconds of one image at each size, until it is measured; 0 if unknown.
        devices: number of batches that run in parallel.
        decoders: number of images that are decoded in parallel.

    `now_s` is `time.monotonic` throughout.
    """

    def __init__(self, expected_s: Mapping[int, float], *, devices: int, decoders: int) -> None:
        self._scale_s: Final = {size: _RunningMean(seconds) for size, seconds in expected_s.items()}
        self._decode_s: Final = _RunningMean(0.0)
        self._triage_share: Final = _RunningMean(1.0)
        self._devices: Final = devices
        self._decoders: Final = decoders
        self._images: Final[dict[Position, _Image]] = {}
        self._ends_s: Final[dict[str, float]] = {}

    @property
    def image_s(self) -> float:
        """Seconds per image at present throughput."""
        return max(self._engines_s(self._scale_s) / self._devices, self._decode_s.mean / self._decoders)

    def wait_s(self, position: Position, now_s: float) -> float:
        """Seconds until the engines start an image at `position`, if no image overtakes it."""
        earlier = [
            image for other, image in self._images.items() if other < position and now_s < image.until_s
        ]
        running_s = sum(max(0.0, end_s - now_s) for end_s in self._ends_s.values())
        engines_s = (running_s + sum(map(self._left_s, earlier))) / self._devices
        undecoded = sum(not image.decoded for image in earlier)
        return max(engines_s, undecoded * self._decode_s.mean / self._decoders)

    def join(self, position: Position, *, until_s: float, all_scales: bool) -> None:
        """Add an image at `position`; it expires at `until_s` unless it joins again before."""
        self._images[position] = _Image(sizes=set(self._scale_s), all_scales=all_scales, until_s=until_s)

    def is_expected(self, position: Position, now_s: float) -> bool:
        """True if there is an image at `position` and it has not expired."""
        return position in self._images and now_s < self._images[position].until_s

    def leave(self, position: Position) -> None:
        """Remove the image at `position`: it is answered or cancelled."""
        image = self._images.pop(position, None)
        if image is not None and not image.all_scales and len(image.sizes) < len(self._scale_s):
            all_s, left_s = self._engines_s(self._scale_s), self._engines_s(image.sizes)
            self._triage_share.add(1 - left_s / all_s if all_s else 1.0)

    def decoded(self, position: Position, seconds: float) -> None:
        """Note that the image at `position` has been decoded, and the time it took."""
        self._decode_s.add(seconds)
        if position in self._images:
            self._images[position].decoded = True

    def started(self, device: str, size: int, positions: Collection[Position], now_s: float) -> None:
        """Note that a batch of `size` starts on `device`."""
        for position in positions:
            if position in self._images:
                self._images[position].sizes.discard(size)
        self._ends_s[device] = now_s + len(positions) * self._scale_s[size].mean

    def ended(self, device: str, size: int, image_s: float | None) -> None:
        """Note that `device` is idle again, and the time per image of its batch; None if it failed."""
        self._ends_s.pop(device, None)
        if image_s is not None:
            self._scale_s[size].add(image_s)

    def _engines_s(self, sizes: Collection[int]) -> float:
        return sum(self._scale_s[size].mean for size in sizes)

    def _left_s(self, image: _Image) -> float:
        left_s = self._engines_s(image.sizes)
        return left_s if image.all_scales else left_s * self._triage_share.mean
