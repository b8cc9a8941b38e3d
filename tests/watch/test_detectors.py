"""The detectors find changes in days, seldom cry wolf, and their bounds hold for the reference they have."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from cxrserve.watch.detectors import DAYS_TO_FALSE_ALARM, Detectors
from cxrserve.watch.reference import TAIL_LEVELS, GroupReference, StreamReference, highest_share
from cxrserve.watch.streams import BINS, INDEX, STREAMS, WEIGHTS_S, bins_of
from tests.benchmarks.watch import Change, delay, doubled, false_alarm, strange, tone_curve


def reference_of(bins_NS: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> GroupReference:
    counts_SB = np.stack([np.bincount(column, minlength=BINS) for column in bins_NS.T])
    return GroupReference.of("all", "all", counts_SB, len(bins_NS))


def normal_bins(films: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    values = np.random.default_rng(seed).normal(0.5, 0.1, (films, len(STREAMS)))
    return np.clip(values * BINS, 0, BINS - 1).astype(np.int64)


def test_weights_are_a_whole() -> None:
    """The mean of e-detectors with fixed weights keeps the bound only if the weights sum to 1."""
    assert WEIGHTS_S.sum() == pytest.approx(1)
    assert (WEIGHTS_S > 0).all()


def test_highest_share_covers_the_population_as_often_as_it_says() -> None:
    """Of uniform films, the share beyond the value at a level is known: it may exceed the bound in 1 %."""
    random = np.random.default_rng(1)
    ordered = np.sort(random.random((4000, 300)), axis=1)
    for level in TAIL_LEVELS:
        beyond = 1 - ordered[:, ::-1][:, int(level * 300)]
        exceeded = (beyond > highest_share(level, 300, 0.99)).mean()
        assert 0.003 < exceeded < 0.02, level


def test_a_day_at_once_is_the_same_as_film_after_film() -> None:
    references = reference_of(normal_bins(1000, 2)).streams
    one, other = Detectors(references), Detectors(references)
    for day in (1, 2, 3):
        films = normal_bins(50, 10 + day)
        for bins_S in films:
            one.record(bins_S[None], day)
            one.settle()
        other.record(films, day)
    other.settle()
    assert np.allclose(one.sums_SHA, other.sums_SHA)
    assert one.change(0) == other.change(0)


def test_a_sum_grows_by_at_most_one_a_day() -> None:
    """The property behind the bound: without a change, the mean evidence after d days is at most d."""
    after = []
    for seed in range(60):
        detectors = Detectors(reference_of(normal_bins(1000, 1000 + seed)).streams)
        for day in range(1, 6):
            detectors.record(normal_bins(40, 10_000 + 10 * seed + day), day)
        after.append(float(WEIGHTS_S @ detectors.evidence_S))
    assert np.mean(after) <= 5


def test_a_year_without_a_change_is_quiet() -> None:
    assert not any(false_alarm(seed, days=120) for seed in (101, 102))


@pytest.mark.parametrize(("change", "days"), [(strange, 7), (tone_curve, 5), (doubled, 14)])
def test_a_change_is_found_in_days(change: Change, days: int) -> None:
    """The median of three services; the figures of many are in tests/benchmarks."""
    assert np.median([delay(change, seed) for seed in (1, 2, 3)]) <= days


def test_the_day_of_the_change_is_named() -> None:
    detectors = Detectors(reference_of(normal_bins(1000, 3)).streams)
    changed = date(2026, 3, 12).toordinal()
    for day in range(changed - 30, changed + 3):
        films = normal_bins(40, day)
        if day >= changed:
            films[:, INDEX["grey-median"]] -= BINS // 6
        detectors.record(films, day)
    assert WEIGHTS_S[INDEX["grey-median"]] * detectors.evidence_S[INDEX["grey-median"]] > DAYS_TO_FALSE_ALARM
    half_line, quiet = detectors.change(INDEX["grey-median"])
    assert half_line < len(TAIL_LEVELS), "below, not above"
    assert changed - 3 <= quiet < changed


def test_a_missing_value_is_no_evidence() -> None:
    detectors = Detectors(reference_of(normal_bins(1000, 4)).streams)
    detectors.record(np.full((1, len(STREAMS)), -1), 1)
    detectors.settle()
    assert np.allclose(detectors.sums_SHA, 1)


def test_values_of_any_kind_have_a_bin() -> None:
    values_S = np.full(len(STREAMS), np.nan)
    assert (bins_of(values_S) == -1).all()
    values_S[:3] = (np.inf, -np.inf, 1e300)
    assert bins_of(values_S)[:3].tolist() == [BINS - 1, 0, BINS - 1]


def test_a_reference_that_contradicts_itself_is_refused() -> None:
    sound = reference_of(normal_bins(1000, 5)).streams[0].model_dump()
    StreamReference.model_validate(sound)
    for change in ({"stream": "nothing"}, {"low": sound["low"][::-1]}, {"tenths": (BINS,) * 9}):
        with pytest.raises(ValueError, match=r"stream|ascending|between"):
            StreamReference.model_validate(sound | change)
