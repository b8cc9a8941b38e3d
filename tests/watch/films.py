"""Observations for tests of the watch, and a calendar that they turn."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from cxrserve.watch.group import Observation
from cxrserve.watch.streams import INDEX, STREAMS


class Calendar:
    """A day that tests turn."""

    def __init__(self) -> None:
        self.day = date(2026, 1, 1)

    def today(self) -> date:
        """The day it is."""
        return self.day

    def turn(self) -> None:
        """Make it the next day."""
        self.day += timedelta(1)


def film(random: np.random.Generator, *, darker: float = 0.0, station: str = "other") -> Observation:
    """One film; `darker` is taken from the median grey."""
    values_S = np.full(len(STREAMS), np.nan)
    values_S[INDEX["distance"]] = random.normal(5, 0.5)
    values_S[INDEX["grey-median"]] = random.normal(0.45, 0.05) - darker
    values_S[INDEX["refused"]] = 0
    log_odds_F = random.normal(-2, 1, 14)
    values_S[INDEX["finding-atelectasis"] :] = log_odds_F
    probabilities_F = 1 / (1 + np.exp(-log_odds_F))
    return Observation(
        station=station,
        view="PA",
        values_S=values_S,
        probabilities_F=probabilities_F,
        positive_F=probabilities_F > 0.5,
    )
