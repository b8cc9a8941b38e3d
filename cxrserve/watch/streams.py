"""The streams of numbers that are watched, and the fixed bins that their values are counted in.

Only bins are counted and stored, never a value of one film.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import NAMES

BINS: Final = 512
Kind = Literal["number", "yes-or-no"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """One number of every film.

    Attributes:
        name: for machines.
        low, high: the range of its bins; values outside count in the first or the last.
        weight: share of all evidence that the stream can contribute, fixed before any film was seen.
        confidence: that the reference's own chance is not taken for a change; lower where a change is to be
            found soonest.
        less, more: the change in words, completing "films are …".
        label: for people.
    """

    name: str
    label: str
    low: float
    high: float
    weight: float
    less: str
    more: str
    kind: Kind = "number"
    confidence: float = 0.998


def _yes_or_no(name: str, label: str, weight: float, more: str, less: str) -> Stream:
    return Stream(
        name=name, label=label, low=0, high=1, weight=weight, less=less, more=more, kind="yes-or-no"
    )


_OF_FINDINGS: Final = 0.4


def finding_stream(finding: str) -> str:
    """The name of the stream of the log-odds of a finding's score."""
    return f"finding-{finding.lower().replace(' ', '-')}"


_IMAGE_STREAMS: Final = (
    Stream(
        name="distance",
        label="Distance from known chest films",
        low=0,
        high=12,  # log(1 + squared distance)
        weight=0.2,
        less="closer to the known chest films",
        more="stranger",
        confidence=0.99,
    ),
    Stream(
        name="grey-median",
        label="Median grey",
        low=0,
        high=1,
        weight=0.08,
        less="darker in their stored values",
        more="brighter in their stored values",
    ),
    Stream(
        name="grey-spread",
        label="Grey spread",
        low=0,
        high=1,
        weight=0.06,
        less="lower in contrast",
        more="higher in contrast",
    ),
    Stream(
        name="grey-low-end",
        label="Pixels at the low end",
        low=0,
        high=1,
        weight=0.03,
        less="with fewer pixels at the low end of the range",
        more="with more pixels at the low end of the range",
    ),
    Stream(
        name="grey-high-end",
        label="Pixels at the high end",
        low=0,
        high=1,
        weight=0.03,
        less="with fewer pixels at the high end of the range",
        more="with more pixels at the high end of the range",
    ),
    Stream(
        name="pixels",
        label="Number of pixels",
        low=8,
        high=20,  # log(rows × columns)
        weight=0.05,
        less="smaller",
        more="larger",
    ),
    _yes_or_no("refused", "Refused", 0.06, "refused more often", "refused less often"),
    _yes_or_no("turned", "Turned", 0.04, "turned more often", "turned less often"),
    _yes_or_no("inverted", "Inverted", 0.04, "inverted more often", "inverted less often"),
    _yes_or_no("lateral", "Lateral view", 0.01, "lateral views more often", "lateral views less often"),
)
STREAMS: Final[tuple[Stream, ...]] = (
    *_IMAGE_STREAMS,
    *(
        Stream(
            name=finding_stream(name),
            label=f"Score of {name}",
            low=-12,
            high=12,  # log-odds
            weight=_OF_FINDINGS / len(NAMES),
            less=f"less often predicted to show {name}",
            more=f"more often predicted to show {name}",
        )
        for name in NAMES
    ),
)
INDEX: Final = {stream.name: index for index, stream in enumerate(STREAMS)}
WEIGHTS_S: Final = np.array([stream.weight for stream in STREAMS])
_LOW_S: Final = np.array([stream.low for stream in STREAMS])
_RANGE_S: Final = np.array([stream.high - stream.low for stream in STREAMS])


def bins_of(values_S: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each stream's value, 0 to `BINS` - 1; -1 where the value is NaN."""
    known_S = ~np.isnan(values_S)
    shares_S = np.clip(np.where(known_S, (values_S - _LOW_S) / _RANGE_S, 0.0), 0.0, 1.0)
    bins_S = np.minimum((shares_S * BINS).astype(np.int64), BINS - 1)
    return np.where(known_S, bins_S, -1)
