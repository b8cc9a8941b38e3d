"""Simulated years of the watch: false alarms, and days until a change is found.

    python -m tests.benchmarks.watch --years 500 --changes 200

A service with three stations: 50, 30 and 20 films a day. The reference of a group is its first 1,000 films.
Values of films are drawn from normal distributions, independently for each stream; the detectors see their
bins, as in the service. The films of a day are recorded at once, which gives the same sums as film after film
(`tests/watch/test_detectors.py` shows it).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.site.points import share
from cxrserve.watch.detectors import DAYS_TO_FALSE_ALARM, Detectors
from cxrserve.watch.reference import MIN_FILMS, GroupReference
from cxrserve.watch.streams import BINS, INDEX, STREAMS, WEIGHTS_S
from cxrserve.watch.watch import WEIGHT_OF_ALL, WEIGHT_OF_GROUP

Values = NDArray[np.float64]
Change = Callable[[Values, NDArray[np.int64], np.random.Generator], None]

STATIONS: Final = (50, 30, 20)  # films a day
_GREY: Final = (0.45, 0.06)  # mean and spread of the median grey between films
_SEPARATION: Final = 4.0  # of a finding's scores, in standard deviations
_FINDING: Final = INDEX["finding-pneumothorax"]
_PREVALENCE: Final = 0.1
_RATES: Final = {"refused": 0.005, "turned": 0.002, "inverted": 0.002, "lateral": 0.2}


def draw(films: int, random: np.random.Generator, prevalence: float = _PREVALENCE) -> Values:
    """Values of films without a change, as shares of each stream's range, float64 [N, S]."""
    values_NS = np.clip(random.normal(0.5, 0.08, (films, len(STREAMS))), 0, 0.999)
    values_NS[:, INDEX["grey-median"]] = random.normal(*_GREY, films)
    for name, rate in _RATES.items():
        values_NS[:, INDEX[name]] = 0.999 * (random.random(films) < rate)
    sick = random.random(films) < prevalence
    values_NS[:, _FINDING] = np.clip(0.3 + 0.08 * (random.normal(size=films) + _SEPARATION * sick), 0, 0.999)
    return values_NS


def none(values_NS: Values, station_N: NDArray[np.int64], random: np.random.Generator) -> None:
    """No change."""


def strange(values_NS: Values, station_N: NDArray[np.int64], random: np.random.Generator) -> None:
    """4 % of the films are no chest films: their distance is beyond that of all others."""
    values_NS[random.random(len(values_NS)) < 0.04, INDEX["distance"]] = 0.95


def tone_curve(values_NS: Values, station_N: NDArray[np.int64], random: np.random.Generator) -> None:
    """The station of 20 films a day turns to another tone curve, γ = 1.3."""
    here = station_N == 2
    column = INDEX["grey-median"]
    values_NS[here, column] = np.clip(values_NS[here, column], 0, 1) ** 1.3


def doubled(values_NS: Values, station_N: NDArray[np.int64], random: np.random.Generator) -> None:
    """One finding becomes twice as frequent."""
    values_NS[:, _FINDING] = draw(len(values_NS), random, 2 * _PREVALENCE)[:, _FINDING]


def uneven_days(values_NS: Values, station_N: NDArray[np.int64], random: np.random.Generator) -> None:
    """The films of a day resemble each other: their median grey shifts together, by a fifth of its spread."""
    values_NS[:, INDEX["grey-median"]] += random.normal(0, _GREY[1] / 5)


class Simulation:
    """One service from its first film on."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._gathered: list[list[NDArray[np.int64]]] = [[] for _ in range(1 + len(STATIONS))]
        self._detectors: list[Detectors | None] = [None] * (1 + len(STATIONS))
        self._day = 0

    def run_day(self, change: Change) -> float:
        """The evidence after one more day, in days to a false alarm."""
        self._day += 1
        station_N = np.repeat(np.arange(len(STATIONS)), self._random.poisson(STATIONS))
        values_NS = draw(len(station_N), self._random)
        change(values_NS, station_N, self._random)
        bins_NS = np.clip(values_NS * BINS, 0, BINS - 1).astype(np.int64)
        evidence = 0.0
        for group in range(1 + len(STATIONS)):
            here = bins_NS if group == 0 else bins_NS[station_N == group - 1]
            evidence += self._group_evidence(group, here)
        return evidence

    def ready(self) -> bool:
        """True once every group has its reference."""
        return None not in self._detectors

    def _group_evidence(self, group: int, bins_NS: NDArray[np.int64]) -> float:
        detectors = self._detectors[group]
        if detectors is None:
            self._gathered[group].extend(bins_NS)
            films = np.array(self._gathered[group])
            if len(films) >= MIN_FILMS:
                films = films[:MIN_FILMS]
                counts_SB = np.stack([np.bincount(column, minlength=BINS) for column in films.T])
                reference = GroupReference.of("all", "all", counts_SB, MIN_FILMS)
                self._detectors[group] = Detectors(reference.streams)
            return 0.0
        if len(bins_NS):
            detectors.record(bins_NS, self._day)
        weight = WEIGHT_OF_ALL if group == 0 else WEIGHT_OF_GROUP
        return weight * float(WEIGHTS_S @ detectors.evidence_S)


def false_alarm(seed: int, days: int = 365, world: Change = none) -> bool:
    """True if a year without a change of `world`, from the first film on, raises an alarm."""
    simulation = Simulation(np.random.default_rng((seed, 0)))
    return any(simulation.run_day(world) >= DAYS_TO_FALSE_ALARM for _ in range(days))


def delay(change: Change, seed: int, longest: int = 60) -> int:
    """Days from a change, 60 days after the service began, until the alarm is on."""
    simulation = Simulation(np.random.default_rng((seed, 1)))
    while not simulation.ready():
        simulation.run_day(none)
    for _ in range(10):
        simulation.run_day(none)
    for day in range(1, longest + 1):
        if simulation.run_day(change) >= DAYS_TO_FALSE_ALARM:
            return day
    return longest + 1


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=100)
    parser.add_argument("--changes", type=int, default=100)
    arguments = parser.parse_args()
    for name, world in (("independent films", none), ("films of a day alike", uneven_days)):
        alarms = sum(false_alarm(seed, world=world) for seed in range(arguments.years))
        interval = share(alarms, arguments.years)
        print(
            f"years with a false alarm, {name}: {alarms} of {arguments.years} "
            f"(95 % interval {interval.low:.1%} to {interval.high:.1%})",
            flush=True,
        )
    for change in (strange, tone_curve, doubled):
        days = [delay(change, seed) for seed in range(arguments.changes)]
        median, late = np.percentile(days, (50, 95))
        print(f"{change.__name__}: median {median:.0f} days, 95 % within {late:.0f}, of {len(days)} runs")


if __name__ == "__main__":
    main()
