"""Tests of the estimated wait: it is exact for an image that no other overtakes."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrserve.engines.base import Output
from cxrserve.errors import QueueTooLong
from cxrserve.scheduling.admission import WaitLimit
from cxrserve.scheduling.queue import Position, Priority, RequestQueue, ScaleTask
from cxrserve.scheduling.wait_estimate import WaitEstimator

EACH_S = {64: 0.25, 128: 1.0}
LEAD_S = 5.0
IMAGE_S = sum(EACH_S.values())


@dataclass(kw_only=True)
class Arrival:
    """One image of the simulation, what it was told, and when its turn came."""

    at_s: float
    position: Position
    told_s: float = math.nan
    begun_s: float = math.nan


def simulated(gaps: list[tuple[float, Priority]]) -> list[Arrival]:
    """A device that runs one task after another in the queue's order, in exactly the expected time."""
    estimator, queue = WaitEstimator(EACH_S, devices=1, decoders=1), RequestQueue(EACH_S)
    coming: list[Arrival] = []
    clock = 0.0
    for number, (gap_s, priority) in enumerate(gaps):
        clock += gap_s
        due_s = clock + LEAD_S * (priority == "routine")
        coming.append(Arrival(at_s=clock, position=Position(due_s=due_s, number=number)))
    by_position = {arrival.position: arrival for arrival in coming}
    waiting, ends_s = list(coming), 0.0
    while waiting or queue:
        while waiting and (not queue or waiting[0].at_s <= ends_s):
            arrival = waiting.pop(0)
            if arrival.at_s >= ends_s:
                estimator.ended("0", 64, None)
            arrival.told_s = estimator.wait_s(arrival.position, arrival.at_s)
            estimator.join(arrival.position, until_s=math.inf, all_scales=True)
            for size in EACH_S:
                queue.add(_task(arrival.position, size))
            ends_s = max(ends_s, arrival.at_s)
        head = queue.head()
        assert head is not None
        [task] = queue.take(head.size, 1)
        arrival = by_position[task.position]
        arrival.begun_s = ends_s if math.isnan(arrival.begun_s) else arrival.begun_s
        estimator.started("0", task.size, [task.position], ends_s)
        ends_s += EACH_S[task.size]
    return coming


def _task(position: Position, size: int) -> ScaleTask:
    pixels_SS = np.zeros((size, size), np.uint8)
    future: Future[Output] = Future()
    return ScaleTask(
        position=position,
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
        if not any(later.position < arrival.position for later in coming[number + 1 :]):
            assert arrival.told_s == pytest.approx(waited_s, abs=1e-9)


@given(waiting=st.integers(0, 30), limit_s=st.floats(0.01, 60))
def test_retry_after_is_when_there_is_room(waiting: int, limit_s: float) -> None:
    """If nobody else comes, who comes again then is let in; and nobody is sent away for longer than that."""
    estimator = WaitEstimator(EACH_S, devices=1, decoders=1)
    for number in range(waiting):
        estimator.join(Position(due_s=0, number=number), until_s=math.inf, all_scales=True)
    wait_s = estimator.wait_s(Position(due_s=0, number=99), 0)
    assert wait_s == pytest.approx(waiting * IMAGE_S)
    limit = WaitLimit(limit_s, "CXRSERVE_MAX_WAIT_S")
    if wait_s <= limit_s:
        limit.check(wait_s)
        return
    with pytest.raises(QueueTooLong, match="CXRSERVE_MAX_WAIT_S") as refused:
        limit.check(wait_s)
    again_s = refused.value.retry_after_s
    limit.check(wait_s - again_s)
    assert again_s == max(1, math.ceil(wait_s - limit_s))


def test_what_was_never_measured_keeps_nobody_out() -> None:
    estimator = WaitEstimator(dict.fromkeys(EACH_S, 0.0), devices=1, decoders=1)
    for number in range(100):
        position = Position(due_s=0, number=number)
        assert estimator.wait_s(position, 0) == 0
        estimator.join(position, until_s=math.inf, all_scales=True)
    WaitLimit(-1.0, "CXRSERVE_REQUEST_TIMEOUT_S").check(0.0)  # an image alone is read, however slow


def test_the_first_measurement_takes_the_place_of_the_warm_up() -> None:
    estimator = WaitEstimator({64: 9.0}, devices=1, decoders=1)
    assert estimator.image_s == 9
    estimator.ended("0", 64, 1.0)
    assert estimator.image_s == 1
    estimator.ended("0", 64, None)  # one that failed says nothing
    for _ in range(3):
        estimator.ended("0", 64, 1.0)
    estimator.ended("0", 64, 2.0)
    assert estimator.image_s == pytest.approx(1.2)


def test_devices_share_the_work_and_slow_decoders_are_waited_for() -> None:
    estimator = WaitEstimator(EACH_S, devices=2, decoders=2)
    positions = [Position(due_s=0, number=number) for number in range(4)]
    for position in positions:
        estimator.join(position, until_s=math.inf, all_scales=True)
    last = Position(due_s=1, number=9)
    assert estimator.wait_s(last, 0) == pytest.approx(4 * IMAGE_S / 2)
    estimator.decoded(positions[0], 10.0)
    assert estimator.wait_s(last, 0) == pytest.approx(3 * 10.0 / 2)


def test_a_place_is_given_up_in_time() -> None:
    estimator, position, last = (
        WaitEstimator(EACH_S, devices=1, decoders=1),
        Position(due_s=0, number=1),
        Position(due_s=9, number=2),
    )
    estimator.join(position, until_s=5.0, all_scales=True)
    assert estimator.is_expected(position, 4.9)
    assert estimator.wait_s(last, 4.9) == pytest.approx(IMAGE_S)
    assert not estimator.is_expected(position, 5.0)
    assert estimator.wait_s(last, 5.0) == 0


def test_a_triage_counts_for_the_share_that_triages_took() -> None:
    estimator, last = WaitEstimator(EACH_S, devices=1, decoders=1), Position(due_s=9, number=99)
    for number in range(5):  # each is settled by the first scale
        position = Position(due_s=0, number=number)
        estimator.join(position, until_s=math.inf, all_scales=False)
        estimator.started("0", 64, [position], 0)
        estimator.ended("0", 64, EACH_S[64])
        estimator.leave(position)
    assert estimator.wait_s(last, 0) == 0
    estimator.join(Position(due_s=0, number=9), until_s=math.inf, all_scales=False)
    assert estimator.wait_s(last, 0) == pytest.approx(IMAGE_S * EACH_S[64] / IMAGE_S)
