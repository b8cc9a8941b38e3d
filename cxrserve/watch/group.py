"""The films of one station and view: their reference, their detectors, and the counts of today.

Legend: S streams, B bins, F findings, T tenths of the reference.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import NAMES
from cxrserve.watch.detectors import Detectors, Numbers
from cxrserve.watch.reference import MIN_FILMS, TENTHS, GroupReference
from cxrserve.watch.streams import BINS, INDEX, STREAMS

Counts = NDArray[np.int64]
_ARRAYS: Final = ("sums_SHA", "today_SHA", "drifts_SHA", "since_SHA")


class GroupName(NamedTuple):
    """A station and a view, both names of ours; `ALL` is every film."""

    station: str
    view: str


ALL: Final = GroupName("all", "all")
OTHER: Final = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One film as the watch sees it; nothing in it names a patient or a study.

    Attributes:
        values_S: float64 [S], the value of each stream, NaN where there is none.
        probabilities_F: float64 [14], NaN where the film was refused or the finding is not supported.
        positive_F: bool [14], at or above the operating point.
    """

    station: str
    view: str
    values_S: Numbers
    probabilities_F: Numbers
    positive_F: NDArray[np.bool_]


@dataclass(kw_only=True, slots=True)
class DayCounts:
    """Counts of one day.

    Attributes:
        tenths_ST: films in each tenth of the reference; zeros before there is one.
        positives_F, expected_F: positive films, and the sum of the probabilities.
    """

    films: int = 0
    refused: int = 0
    tenths_ST: Counts = field(default_factory=lambda: np.zeros((len(STREAMS), 10), np.int64))
    positives_F: Counts = field(default_factory=lambda: np.zeros(len(NAMES), np.int64))
    expected_F: Numbers = field(default_factory=lambda: np.zeros(len(NAMES)))

    def packed(self) -> bytes:
        """As bytes, for the store."""
        return pack(
            films=np.array((self.films, self.refused)),
            tenths_ST=self.tenths_ST.astype(np.uint32),
            positives_F=self.positives_F.astype(np.uint32),
            expected_F=self.expected_F.astype(np.float32),
        )

    @classmethod
    def unpacked(cls, data: bytes) -> DayCounts:
        """From the store."""
        arrays = unpack(data)
        films, refused = arrays["films"].tolist()
        return cls(
            films=films,
            refused=refused,
            tenths_ST=arrays["tenths_ST"].astype(np.int64),
            positives_F=arrays["positives_F"].astype(np.int64),
            expected_F=arrays["expected_F"].astype(np.float64),
        )


class Group:
    """One station and view. Without a reference, its first `MIN_FILMS` films become it.

    Attributes:
        reference: None while it is being gathered.
        gathered_SB: int64 [S, B], films in each bin meanwhile.
        films: all films seen since the reference began or was given.
        today: counts of the day with the ordinal `day`.
    """

    def __init__(self, name: GroupName, reference: GroupReference | None = None) -> None:
        self.name: Final = name
        self.films = 0
        self.day = 0
        self.today = DayCounts()
        self.gathered_SB: Counts = np.zeros((len(STREAMS), BINS), np.int64)
        self.reference: GroupReference | None = None
        self.detectors = Detectors(())
        self._known_S = np.zeros(len(STREAMS), bool)
        self._tenths_ST = np.zeros((len(STREAMS), len(TENTHS)), np.int64)
        if reference is not None:
            self._compare_with(reference)

    @property
    def judges(self) -> bool:
        """True if the reference has enough films to say what is unusual."""
        return self.reference is not None and self.reference.films >= MIN_FILMS

    def record(self, observation: Observation, bins_S: Counts, day: int) -> None:
        """Count one film on the day with this ordinal."""
        if day > self.day:
            self.day, self.today = day, DayCounts()
        self.films += 1
        self._count(observation)
        if self.reference is None:
            rows = np.flatnonzero(bins_S >= 0)
            self.gathered_SB[rows, bins_S[rows]] += 1
            if self.films >= MIN_FILMS:
                self._compare_with(GroupReference.of(*self.name, self.gathered_SB, self.films))
            return
        tenths_S = (self._tenths_ST < bins_S[:, None]).sum(axis=1)
        rows = np.flatnonzero(self._known_S & (bins_S >= 0))
        self.today.tenths_ST[rows, tenths_S[rows]] += 1
        if self.judges:
            self.detectors.record(bins_S[None], day)

    def _compare_with(self, reference: GroupReference) -> None:
        self.reference, self.detectors = reference, Detectors(reference.streams)
        for stream in reference.streams:
            row = INDEX[stream.stream]
            self._known_S[row], self._tenths_ST[row] = True, stream.tenths

    def _count(self, observation: Observation) -> None:
        today = self.today
        today.films += 1
        today.refused += int(observation.values_S[INDEX["refused"]] == 1)
        today.positives_F += observation.positive_F
        today.expected_F += np.nan_to_num(observation.probabilities_F)

    def packed(self) -> bytes:
        """The state without the counts of the day, as bytes, for the store."""
        self.detectors.settle()
        arrays = {name: getattr(self.detectors, name) for name in _ARRAYS}
        own = self.reference.model_dump_json() if self.reference is not None else ""
        return pack(
            **arrays,
            days=np.array((self.day, self.detectors.day, self.films)),
            gathered_SB=self.gathered_SB.astype(np.uint16) if self.reference is None else np.zeros(0),
            reference=np.frombuffer(own.encode(), np.uint8),
        )

    def restore(self, data: bytes, today: DayCounts | None) -> None:
        """Continue from the state in the store."""
        arrays = unpack(data)
        own = arrays["reference"].tobytes().decode()
        if own:
            self._compare_with(GroupReference.model_validate_json(own))
        else:
            self.gathered_SB = arrays["gathered_SB"].astype(np.int64)
        for name in _ARRAYS:
            setattr(self.detectors, name, arrays[name])
        self.day, self.detectors.day, self.films = arrays["days"].tolist()
        self.today = today or DayCounts()


def pack(**arrays: NDArray[np.generic]) -> bytes:
    """Arrays as the bytes of a compressed npz file without pickles."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays in the bytes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
