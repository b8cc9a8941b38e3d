"""The backlog: seconds of work before a place in the line. No threads here: its owner holds a lock.

What matters to who asks is time, not a number of images: so it is known what an image takes at each scale
(measured at warm-up, then of late), what is running, and what is ahead by its place. What was never measured
takes no time here, so that nobody is refused for want of a measurement. The engines and the decoders work
side by side; an image waits for the slower of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cxrserve.ensemble.line import Place

# Weight of the newest measurement once there are a few; the first ones count alike. A warm-up's figure is a
# guess: a first run does what no later one has to.
_NEWEST: Final = 0.2


class _Recent:
    """A running mean that forgets."""

    def __init__(self, guess: float) -> None:
        self.mean = guess
        self._count = 0

    def add(self, value: float) -> None:
        self._count += 1
        self.mean += max(_NEWEST, 1 / self._count) * (value - self.mean)


@dataclass(kw_only=True, slots=True)
class _Image:
    """What is left to do for one image.

    Attributes:
        sizes: its scales that have not begun to run.
        whole: all of them will be asked for; a triage stops as soon as it may.
        decoded: its pyramid is there.
        until_s: when its place is given up, where only its upload is awaited; on the clock of `now_s`.
    """

    sizes: set[int]
    whole: bool
    decoded: bool = False
    until_s: float


class Backlog:
    """The work that is inside.

    Args:
        expected_s: seconds of one image at each size, until it is measured; 0 where nothing is known.
        devices: how many batches run side by side.
        decoders: how many images are decoded side by side.

    `now_s` is `time.monotonic` throughout.
    """

    def __init__(self, expected_s: Mapping[int, float], *, devices: int, decoders: int) -> None:
        self._each: Final = {size: _Recent(seconds) for size, seconds in expected_s.items()}
        self._decode: Final = _Recent(0.0)
        self._triaged_share: Final = _Recent(1.0)
        self._devices: Final = devices
        self._decoders: Final = decoders
        self._images: Final[dict[Place, _Image]] = {}
        self._ends_s: Final[dict[str, float]] = {}

    @property
    def image_s(self) -> float:
        """Seconds in which one image more is read, by what images took of late."""
        return max(
            sum(each.mean for each in self._each.values()) / self._devices, self._decode.mean / self._decoders
        )

    def wait_s(self, place: Place, now_s: float) -> float:
        """Seconds until the engines begin with an image at `place`, if nobody comes who may go before it."""
        ahead = [image for at, image in self._images.items() if at < place and now_s < image.until_s]
        running_s = sum(max(0.0, end_s - now_s) for end_s in self._ends_s.values())
        engines_s = (running_s + sum(map(self._left_s, ahead))) / self._devices
        undecoded = sum(not image.decoded for image in ahead)
        return max(engines_s, undecoded * self._decode.mean / self._decoders)

    def join(self, place: Place, *, until_s: float, whole: bool) -> None:
        """An image takes `place`; it is given up at `until_s` unless it joins again before."""
        self._images[place] = _Image(sizes=set(self._each), whole=whole, until_s=until_s)

    def holds(self, place: Place, now_s: float) -> bool:
        """Whether the image at `place` is still expected."""
        return place in self._images and now_s < self._images[place].until_s

    def leave(self, place: Place) -> None:
        """The image is answered or given up."""
        image = self._images.pop(place, None)
        if image is not None and not image.whole and len(image.sizes) < len(self._each):
            all_s = sum(each.mean for each in self._each.values())
            left_s = sum(self._each[size].mean for size in image.sizes)
            self._triaged_share.add(1 - left_s / all_s if all_s else 1.0)

    def decoded(self, place: Place, seconds: float) -> None:
        """The pyramid of the image at `place` is there; a decoder took so long."""
        self._decode.add(seconds)
        if place in self._images:
            self._images[place].decoded = True

    def started(self, device: str, size: int, places: Collection[Place], now_s: float) -> None:
        """A batch of `size` begins."""
        for place in places:
            if place in self._images:
                self._images[place].sizes.discard(size)
        self._ends_s[device] = now_s + len(places) * self._each[size].mean

    def ended(self, device: str, size: int, each_s: float | None) -> None:
        """The device is free again; each image of its batch took so long, None where it failed."""
        self._ends_s.pop(device, None)
        if each_s is not None:
            self._each[size].add(each_s)

    def _left_s(self, image: _Image) -> float:
        left_s = sum(self._each[size].mean for size in image.sizes)
        return left_s if image.whole else left_s * self._triaged_share.mean
