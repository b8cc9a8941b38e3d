"""The films that later ones are compared with: for each stream, a few of their ordered values.

Legend: S streams, B bins, H half-lines.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cxrserve.schema import Strict
from cxrserve.watch.streams import BINS, INDEX

MIN_FILMS: Final = 1000  # fewer cannot say what is unusual: they are shown, and nothing is an alarm
# Positions among the reference's ordered values: the ends of the half-lines of the detectors.
TAIL_LEVELS: Final = (0.0, 0.02, 0.1, 0.3)
TENTHS: Final = tuple(tenth / 10 for tenth in range(1, 10))


class StreamReference(Strict):
    """Ordered values of one stream, as bins: at the ends of the half-lines, and at the tenths."""

    stream: str
    films: int = Field(ge=1, description="Films that have a value in this stream.")
    low: tuple[int, ...] = Field(
        min_length=len(TAIL_LEVELS),
        max_length=len(TAIL_LEVELS),
        description="Bins below which at most 0, 2, 10, 30 % of the films lie.",
    )
    high: tuple[int, ...] = Field(
        min_length=len(TAIL_LEVELS), max_length=len(TAIL_LEVELS), description="Likewise above."
    )
    tenths: tuple[int, ...] = Field(min_length=9, max_length=9)

    @model_validator(mode="after")
    def _is_known_and_ordered(self) -> Self:
        if self.stream not in INDEX:
            raise ValueError(f"the watch has no stream {self.stream!r}")
        for name in ("low", "tenths"):
            if list(getattr(self, name)) != sorted(getattr(self, name)):
                raise ValueError(f"{name} of {self.stream} are not ascending")
        if not all(0 <= value < BINS for value in (*self.low, *self.high, *self.tenths)):
            raise ValueError(f"a bin of {self.stream} is not between 0 and {BINS - 1}")
        return self

    @classmethod
    def of(cls, stream: str, counts_B: NDArray[np.int64]) -> Self:
        """The reference of a stream from the number of films in each bin; at least one film."""
        films = int(counts_B.sum())
        ordered = np.repeat(np.arange(BINS), counts_B)

        def at(rank: int) -> int:
            return int(ordered[rank - 1])

        return cls(
            stream=stream,
            films=films,
            low=tuple(at(_rank(level, films)) for level in TAIL_LEVELS),
            high=tuple(at(films + 1 - _rank(level, films)) for level in TAIL_LEVELS),
            tenths=tuple(at(max(1, round(tenth * films))) for tenth in TENTHS),
        )


class GroupReference(Strict):
    """The reference of one station and view, or of all films together (both "all")."""

    station: str
    view: str
    films: int = Field(ge=1)
    streams: tuple[StreamReference, ...]

    @classmethod
    def of(cls, station: str, view: str, counts_SB: NDArray[np.int64], films: int) -> Self:
        """The reference from the counts of each stream; streams without a film are left out."""
        return cls(
            station=station,
            view=view,
            films=films,
            streams=tuple(
                StreamReference.of(name, counts_SB[index])
                for name, index in INDEX.items()
                if counts_SB[index].any()
            ),
        )


def _rank(level: float, films: int) -> int:
    """Rank, counted from 1, of the value below which a share of `level` lies."""
    return 1 + math.floor(level * films) if level < 1 else films


@lru_cache(maxsize=4096)
def highest_share(level: float, films: int, confidence: float) -> float:
    """The largest share of all films that may lie beyond the value at `level`, with that confidence.

    The value is the k-th of the reference's n films in order, k = ⌊level·n⌋ + 1; the share beyond it in the
    population follows Beta(k, n + 1 − k) whatever the distribution, and is smaller where values tie. So the
    detectors do not take the reference's own chance for a change.
    """
    rank = _rank(level, films)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(rank - 1, films, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(count: int, films: int, share: float) -> float:
    """Probability that at most `count` of `films` lie beyond, where each does with probability `share`."""
    numbers = np.arange(count + 1)
    logs = np.array(
        [
            math.lgamma(films + 1) - math.lgamma(number + 1) - math.lgamma(films - number + 1)
            for number in numbers.tolist()
        ]
    )
    logs += numbers * math.log(share) + (films - numbers) * math.log1p(-share)
    return float(np.exp(logs).sum())
