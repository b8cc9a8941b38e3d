"""The backlog foretells when an image's turn comes: exactly, where nobody overtakes it."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.engines.base import Output
from cxrserve.ensemble.backlog import Backlog
from cxrserve.ensemble.claim import Limit
from cxrserve.ensemble.line import Line, Part, Place, Priority
from cxrserve.errors import LineTooLong

EACH_S = {64: 0.25, 128: 1.0}
LEAD_S = 5.0
IMAGE_S = sum(EACH_S.values())


@dataclass(kw_only=True)
class Arrival:
    """One image of the simulation, what it was told, and when its turn came."""

    at_s: float
    place: Place
    told_s: float = math.nan
    begun_s: float = math.nan


def simulated(gaps: list[tuple[float, Priority]]) -> list[Arrival]:
    """A device that runs one part after another in the line's order, in exactly the expected time."""
    backlog, line = Backlog(EACH_S, devices=1, decoders=1), Line(EACH_S)
    coming: list[Arrival] = []
    clock = 0.0
    for number, (gap_s, priority) in enumerate(gaps):
        clock += gap_s
        due_s = clock + LEAD_S * (priority == "routine")
        coming.append(Arrival(at_s=clock, place=Place(due_s=due_s, number=number)))
    by_place = {arrival.place: arrival for arrival in coming}
    waiting, ends_s = list(coming), 0.0
    while waiting or line:
        while waiting and (not line or waiting[0].at_s <= ends_s):
            arrival = waiting.pop(0)
            if arrival.at_s >= ends_s:
                backlog.ended("0", 64, None)
            arrival.told_s = backlog.wait_s(arrival.place, arrival.at_s)
            backlog.join(arrival.place, until_s=math.inf, whole=True)
            for size in EACH_S:
                line.add(_part(arrival.place, size))
            ends_s = max(ends_s, arrival.at_s)
        head = line.head()
        assert head is not None
        [part] = line.take(head.size, 1)
        arrival = by_place[part.place]
        arrival.begun_s = ends_s if math.isnan(arrival.begun_s) else arrival.begun_s
        backlog.started("0", part.size, [part.place], ends_s)
        ends_s += EACH_S[part.size]
    return coming


def _part(place: Place, size: int) -> Part:
    pixels_SS = np.zeros((size, size), np.uint8)
    future: Future[Output] = Future()
    return Part(
        place=place,
        size=size,
        image_SS=pixels_SS,
        future=future,
        queued_s=0,
        deadline_s=math.inf,
        priority="routine",
    )


arrivals = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.7, 1.3, 4.0]), st.sampled_from(["stat", "routine"])),
    min_size=1,
    max_size=20,
)


@given(arrivals)
def test_what_is_told_is_what_comes_true(gaps: list[tuple[float, Priority]]) -> None:
    """Never too much; too little only for whom a later stat image overtakes."""
    coming = simulated(gaps)
    for number, arrival in enumerate(coming):
        waited_s = arrival.begun_s - arrival.at_s
        assert arrival.told_s <= waited_s + 1e-9
        if not any(later.place < arrival.place for later in coming[number + 1 :]):
            assert arrival.told_s == pytest.approx(waited_s, abs=1e-9)


@given(waiting=st.integers(0, 30), limit_s=st.floats(0.01, 60))
def test_retry_after_is_when_there_is_room(waiting: int, limit_s: float) -> None:
    """If nobody else comes, who comes again then is let in; and nobody is sent away for longer than that."""
    backlog = Backlog(EACH_S, devices=1, decoders=1)
    for number in range(waiting):
        backlog.join(Place(due_s=0, number=number), until_s=math.inf, whole=True)
    wait_s = backlog.wait_s(Place(due_s=0, number=99), 0)
    assert wait_s == pytest.approx(waiting * IMAGE_S)
    limit = Limit(limit_s, "CXRSERVE_MAX_WAIT_S")
    if wait_s <= limit_s:
        limit.check(wait_s)
        return
    with pytest.raises(LineTooLong, match="CXRSERVE_MAX_WAIT_S") as refused:
        limit.check(wait_s)
    again_s = refused.value.retry_after_s
    limit.check(wait_s - again_s)
    assert again_s == max(1, math.ceil(wait_s - limit_s))


def test_what_was_never_measured_keeps_nobody_out() -> None:
    backlog = Backlog(dict.fromkeys(EACH_S, 0.0), devices=1, decoders=1)
    for number in range(100):
        place = Place(due_s=0, number=number)
        assert backlog.wait_s(place, 0) == 0
        backlog.join(place, until_s=math.inf, whole=True)
    Limit(-1.0, "CXRSERVE_REQUEST_TIMEOUT_S").check(0.0)  # an image alone is read, however slow


def test_the_first_measurement_takes_the_place_of_the_warm_up() -> None:
    backlog = Backlog({64: 9.0}, devices=1, decoders=1)
    assert backlog.image_s == 9
    backlog.ended("0", 64, 1.0)
    assert backlog.image_s == 1
    backlog.ended("0", 64, None)  # one that failed says nothing
    for _ in range(3):
        backlog.ended("0", 64, 1.0)
    backlog.ended("0", 64, 2.0)
    assert backlog.image_s == pytest.approx(1.2)


def test_devices_share_the_work_and_slow_decoders_are_waited_for() -> None:
    backlog = Backlog(EACH_S, devices=2, decoders=2)
    places = [Place(due_s=0, number=number) for number in range(4)]
    for place in places:
        backlog.join(place, until_s=math.inf, whole=True)
    last = Place(due_s=1, number=9)
    assert backlog.wait_s(last, 0) == pytest.approx(4 * IMAGE_S / 2)
    backlog.decoded(places[0], 10.0)
    assert backlog.wait_s(last, 0) == pytest.approx(3 * 10.0 / 2)


def test_a_place_is_given_up_in_time() -> None:
    backlog, place, last = (
        Backlog(EACH_S, devices=1, decoders=1),
        Place(due_s=0, number=1),
        Place(due_s=9, number=2),
    )
    backlog.join(place, until_s=5.0, whole=True)
    assert backlog.holds(place, 4.9)
    assert backlog.wait_s(last, 4.9) == pytest.approx(IMAGE_S)
    assert not backlog.holds(place, 5.0)
    assert backlog.wait_s(last, 5.0) == 0


def test_a_triage_counts_for_the_share_that_triages_took() -> None:
    backlog, last = Backlog(EACH_S, devices=1, decoders=1), Place(due_s=9, number=99)
    for number in range(5):  # each is settled by the first scale
        place = Place(due_s=0, number=number)
        backlog.join(place, until_s=math.inf, whole=False)
        backlog.started("0", 64, [place], 0)
        backlog.ended("0", 64, EACH_S[64])
        backlog.leave(place)
    assert backlog.wait_s(last, 0) == 0
    backlog.join(Place(due_s=0, number=9), until_s=math.inf, whole=False)
    assert backlog.wait_s(last, 0) == pytest.approx(IMAGE_S * EACH_S[64] / IMAGE_S)
