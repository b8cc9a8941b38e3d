"""Sequential detectors with a bounded time to a false alarm: Shiryaev–Roberts e-detectors on half-lines.

A half-line is all values below, or above, one of the reference's ordered values. Under no change at most a
known share of films lies on it (`reference.highest_share`); each detector bets that more do. The bets
against one share b with the alternative q multiply by q/b for a film on the half-line and (1−q)/(1−b)
otherwise: an e-process for every share up to b. A new bet of 1 starts each day that has films, so the sum of
all bets grows by at most 1 a day in expectation (Shiryaev–Roberts; Shin, Ramdas, Rinaldo 2023), and so does
any average of such sums with fixed weights. An alarm at `DAYS_TO_FALSE_ALARM` therefore has an expected
time to a false alarm of at least that many days, whatever the number of streams and stations. The reference
is fixed, as in Shaer 2026: films after a change never become part of it.

Bets are multiplied, so their order does not matter: films are counted by half-line as they come, and the bets
on all films since the last `settle` are settled at once.

Legend: S streams, H half-lines (first those below, then those above), A alternatives, N films.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.watch.reference import TAIL_LEVELS, StreamReference, highest_share
from cxrserve.watch.streams import INDEX, STREAMS

Numbers = NDArray[np.float64]
DAYS_TO_FALSE_ALARM: Final = 365
_ODDS: Final = np.array((1.5, 3.0, 15.0))  # alternatives: odds of the share, as multiples
_MAX: Final = 1e9  # a sum of bets is capped, so that an alarm ends soon after its cause
_MIN_BET, _MAX_BET = 1e-100, 1e100  # of one day, of very many films
_MIN_LOG_BET, _MAX_LOG_BET = -230.0, 230.0  # likewise, of the films that are settled at once
HALF_LINES: Final = 2 * len(TAIL_LEVELS)
SHAPE: Final = (len(STREAMS), HALF_LINES, len(_ODDS))
_SIDES: Final = len(TAIL_LEVELS)


class Detectors:
    """All detectors of one station and view. Films that were recorded count once they are settled.

    Attributes:
        sums_SHA: float64, each sum of bets; 0 where a stream has no reference.
        today_SHA: float64, product of each bet over the films of `day`.
        drifts_SHA: float64, Page's CUSUM of the logarithm of each bet, up to the day before `day`.
        known_S: bool, streams that have a reference.
        on_SHA, off_SHA: float64, factor of each bet for a film on its half-line, and beside it.
        since_SHA: int64, ordinal of the last day at whose end that CUSUM was 0: no change was visible.
        day: ordinal of the last day with a film; 0 before the first.
    """

    def __init__(self, references: Iterable[StreamReference]) -> None:
        self.sums_SHA: Numbers = np.zeros(SHAPE)
        self.today_SHA: Numbers = np.ones(SHAPE)
        self.drifts_SHA: Numbers = np.zeros(SHAPE)
        self.since_SHA: NDArray[np.int64] = np.zeros(SHAPE, np.int64)
        self.day = 0
        self.known_S: Final = np.zeros(len(STREAMS), bool)
        self._beyond_SH: NDArray[np.int64] = np.zeros(
            (len(STREAMS), HALF_LINES), np.int64
        )  # films not settled yet
        self._films_S: NDArray[np.int64] = np.zeros(len(STREAMS), np.int64)  # of these, those with a value
        self._low_SH: Final = np.zeros((len(STREAMS), _SIDES), np.int64)
        self._high_SH: Final = np.zeros((len(STREAMS), _SIDES), np.int64)
        shares_SHA = np.full((len(STREAMS), HALF_LINES, 1), 0.5)
        for reference in references:
            row = INDEX[reference.stream]
            self.known_S[row] = True
            self._low_SH[row], self._high_SH[row] = reference.low, reference.high
            shares_SHA[row, :, 0] = [
                highest_share(level, reference.films, STREAMS[row].confidence) for level in TAIL_LEVELS
            ] * 2
        odds_SHA = shares_SHA / (1 - shares_SHA) * _ODDS
        alternatives_SHA = odds_SHA / (1 + odds_SHA)
        self.on_SHA: Final = alternatives_SHA / shares_SHA
        self.off_SHA: Final = (1 - alternatives_SHA) / (1 - shares_SHA)

    def record(self, bins_NS: NDArray[np.int64], day: int) -> None:
        """Add films, by the bin of each stream (-1: none), on the day with this ordinal."""
        if day > self.day:
            self._begin(day)
        has_value_NS = (bins_NS >= 0) & self.known_S
        beyond_NSH = self.beyond(bins_NS) & has_value_NS[:, :, None]
        self._beyond_SH += beyond_NSH.sum(axis=0)
        self._films_S += has_value_NS.sum(axis=0)

    def beyond(self, bins_NS: NDArray[np.int64]) -> NDArray[np.bool_]:
        """The half-lines that each film lies on, bool [N, S, H]."""
        bins_NS1 = bins_NS[:, :, None]
        return np.concatenate((bins_NS1 < self._low_SH, bins_NS1 > self._high_SH), axis=2)

    def settle(self) -> None:
        """Multiply the bets on the films that were recorded since the last time."""
        if not self._films_S.any():
            return
        beside_SH1 = (self._films_S[:, None] - self._beyond_SH)[:, :, None]
        logs_SHA = self._beyond_SH[:, :, None] * np.log(self.on_SHA) + beside_SH1 * np.log(self.off_SHA)
        factors_SHA = np.exp(np.clip(logs_SHA, _MIN_LOG_BET, _MAX_LOG_BET))
        self.sums_SHA *= factors_SHA
        np.minimum(self.sums_SHA, _MAX, out=self.sums_SHA)
        self.today_SHA *= factors_SHA
        np.clip(self.today_SHA, _MIN_BET, _MAX_BET, out=self.today_SHA)
        self._beyond_SH.fill(0)
        self._films_S.fill(0)

    def _begin(self, day: int) -> None:
        self.settle()
        self.drifts_SHA, self.since_SHA = self._drifts()
        self.today_SHA = np.ones(SHAPE)
        self.day = day
        self.sums_SHA[self.known_S] += 1.0

    def _drifts(self) -> tuple[Numbers, NDArray[np.int64]]:
        """The CUSUM with the settled films of `day`, and its last days at 0."""
        drifts_SHA = np.maximum(self.drifts_SHA + np.log(self.today_SHA), 0.0)
        return drifts_SHA, np.where(drifts_SHA > 0, self.since_SHA, self.day)

    @property
    def evidence_S(self) -> Numbers:
        """The mean sum of bets of each stream: the stream's own Shiryaev–Roberts statistic."""
        self.settle()
        return np.asarray(self.sums_SHA.mean(axis=(1, 2)))

    def change(self, stream: int) -> tuple[int, int]:
        """The half-line with most evidence of a change in `stream`, and the ordinal of its last quiet day."""
        self.settle()
        best = int(self.sums_SHA[stream].argmax())
        half_line, alternative = divmod(best, len(_ODDS))
        return half_line, int(self._drifts()[1][stream, half_line, alternative])


def is_above(half_line: int) -> bool:
    """True for a half-line above a value of the reference."""
    return half_line >= _SIDES
