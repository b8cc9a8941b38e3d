"""Tests of the Batcher: one queue for all, and no result depends on the other images of a batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrserve.engines.base import Engine, Output
from cxrserve.errors import DeadlineExceeded, Overloaded, Stopping
from cxrserve.metrics import Metrics
from cxrserve.scheduling.batcher import Batcher
from cxrserve.scheduling.queue import Priority
from cxrserve.scheduling.request import Cancellation, Cancelled
from tests.scheduling.watched_engines import (
    SIZES,
    Gate,
    admission_of,
    batcher_of,
    engines_of,
    picture,
    watched,
)


@pytest.fixture(scope="module")
def engines(tiny_bundle: Path) -> dict[int, Engine]:
    """ONNX Runtime, which takes several images at once."""
    return engines_of(tiny_bundle)


@pytest.fixture(scope="module")
def alone(engines: dict[int, Engine]) -> dict[tuple[int, int], Output]:
    """What each of 8 images is told when it is alone, by number and size."""
    return {(n, size): engines[size].run(picture(n, size)[None, None]) for n in range(8) for size in SIZES}


@contextmanager
def opened(batcher: Batcher) -> Iterator[Batcher]:
    try:
        yield batcher
    finally:
        batcher.close()


def _asked(
    batcher: Batcher, stack: ExitStack, number: int, priority: Priority = "routine", **more: object
) -> dict[int, Future[Output]]:
    """One image in the line with all its scales; it stays inside while `stack` is open."""
    request = stack.enter_context(batcher.admit(priority=priority, **more))  # type: ignore[arg-type]
    return {size: batcher.submit(request, size, picture(number, size)) for size in SIZES}


arrivals = st.lists(
    st.tuples(
        st.integers(0, 7), st.sampled_from(["stat", "routine"]), st.sampled_from([0.0, 0.0, 0.001, 0.004])
    ),
    min_size=1,
    max_size=16,
)


@settings(max_examples=30, deadline=None)
@given(
    arrivals=arrivals,
    max_images=st.integers(1, 6),
    batch_pixels=st.sampled_from([1, 64 * 64 * 3, 2**20]),
    max_delay_s=st.sampled_from([1e-6, 0.003]),
    devices=st.integers(1, 2),
)
def test_results_do_not_depend_on_the_batch(
    engines: dict[int, Engine],
    alone: dict[tuple[int, int], Output],
    arrivals: list[tuple[int, Priority, float]],
    max_images: int,
    batch_pixels: int,
    max_delay_s: float,
    devices: int,
) -> None:
    """To 1e-6, the rounding of a sum that a batch may take in another order."""
    fleet = [watched(engines, Gate(), max_images=max_images) for _ in range(devices)]
    with (
        opened(batcher_of(*fleet, batch_pixels=batch_pixels, max_delay_s=max_delay_s)) as batcher,
        ThreadPoolExecutor(16) as threads,
    ):

        def ask(arrival: tuple[int, Priority, float]) -> tuple[int, dict[int, Output]]:
            number, priority, after_s = arrival
            time.sleep(after_s)
            with batcher.admit(priority=priority, timeout_s=30) as request:
                futures = {size: batcher.submit(request, size, picture(number, size)) for size in SIZES}
                return number, {size: request.result(future) for size, future in futures.items()}

        for number, outputs in threads.map(ask, arrivals):
            for size, output in outputs.items():
                expected = alone[number, size]
                assert output.logits_NF.shape == (1, 14)
                np.testing.assert_allclose(output.logits_NF, expected.logits_NF, rtol=0, atol=1e-6)
                np.testing.assert_allclose(output.maps_NFhw, expected.maps_NFhw, rtol=0, atol=1e-6)


def test_what_gathers_while_the_device_is_busy_runs_together(engines: Mapping[int, Engine]) -> None:
    """Image by image, and at each scale with those behind as far as the budget of pixels goes."""
    gate = Gate(held=True)
    with (
        opened(batcher_of(watched(engines, gate), batch_pixels=3 * 64 * 64)) as batcher,
        ExitStack() as inside,
    ):
        asked = [_asked(batcher, inside, 0)]
        gate.reached.wait(30)  # the first runs alone: there was nothing to wait for
        asked += [_asked(batcher, inside, number) for number in range(1, 5)]
        gate.open.set()
        for futures in asked:
            assert all(future.result(30).logits_NF.shape == (1, 14) for future in futures.values())
    assert gate.runs == [
        (64, [0]),
        (128, [0]),  # the budget holds one of them
        (64, [1, 2, 3]),
        (128, [1]),  # before image 4 begins: whole answers leave one after another
        (128, [2]),
        (128, [3]),
        (64, [4]),
        (128, [4]),
    ]


def test_it_waits_only_for_images_on_their_way(engines: Mapping[int, Engine]) -> None:
    gate = Gate()
    with opened(batcher_of(watched(engines, gate), max_delay_s=0.5)) as batcher:
        with batcher.admit() as request:
            started = time.monotonic()
            request.result(batcher.submit(request, 64, picture(1, 64)))
            assert time.monotonic() - started < 0.4  # idle: at once
        with batcher.admit() as first, batcher.admit() as second:
            futures = [batcher.submit(first, 64, picture(2, 64))]
            time.sleep(0.05)  # the second is being decoded meanwhile
            futures.append(batcher.submit(second, 64, picture(3, 64)))
            for future in futures:
                future.result(30)
        with batcher.admit() as first, batcher.admit():  # and here the second never comes
            started = time.monotonic()
            first.result(batcher.submit(first, 64, picture(4, 64)))
            assert 0.4 < time.monotonic() - started < 5
    assert gate.runs == [(64, [1]), (64, [2, 3]), (64, [4])]


def test_stat_goes_first_and_nobody_starves(engines: Mapping[int, Engine]) -> None:
    gate = Gate(held=True)
    with (
        opened(
            batcher_of(watched(engines, gate, max_images=1), admission=admission_of(stat_lead_s=0.3))
        ) as batcher,
        ExitStack() as inside,
    ):
        asked = [_asked(batcher, inside, 0)]
        gate.reached.wait(30)
        asked.append(_asked(batcher, inside, 1))
        time.sleep(0.5)  # older than the head start: the stat that comes now stays behind it
        asked.append(_asked(batcher, inside, 2))
        asked += [_asked(batcher, inside, number, "stat") for number in (3, 4)]
        gate.open.set()
        for futures in asked:
            for future in futures.values():
                future.result(30)
    assert [numbers[0] for size, numbers in gate.runs if size == 128] == [0, 1, 3, 4, 2]


def test_more_requests_than_the_maximum_are_refused_at_once(engines: Mapping[int, Engine]) -> None:
    expected_s, admission = {64: 1.5, 128: 2.0}, admission_of(max_requests=2)
    with opened(batcher_of(engines, admission=admission, expected_s=expected_s)) as batcher:
        with admission.reserve(), admission.reserve():
            started = time.monotonic()
            with pytest.raises(Overloaded) as refused:
                admission.reserve()
            assert time.monotonic() - started < 0.05
            assert refused.value.retry_after_s == 7  # two images of 3.5 s
            with batcher.admit():  # a caller with a queue of its own reserves nothing
                assert batcher.inside == 1
        with admission.reserve() as kept, admission.reserve():
            kept.keep()
        with admission.reserve(), pytest.raises(Overloaded):
            admission.reserve()
        for _ in range(2):
            kept.release()  # the second time without effect
        with admission.reserve(), admission.reserve(), pytest.raises(Overloaded):
            admission.reserve()
        with batcher.admit() as request:
            for _ in range(60):
                for size in SIZES:
                    request.result(batcher.submit(request, size, picture(1, size)))
        assert admission.retry_after_s(2) == 1  # it has measured meanwhile


def test_what_is_too_late_never_runs(engines: Mapping[int, Engine]) -> None:
    gate, metrics = Gate(held=True), Metrics()
    with (
        opened(batcher_of(watched(engines, gate), metrics=metrics)) as batcher,
        ExitStack() as inside,
    ):
        first = _asked(batcher, inside, 0)
        gate.reached.wait(30)
        late = _asked(batcher, inside, 1, timeout_s=0.1)
        time.sleep(0.2)
        gate.open.set()
        for future in late.values():
            with pytest.raises(DeadlineExceeded):
                future.result(30)
        first[128].result(30)
    assert all(numbers == [0] for _, numbers in gate.runs)
    dropped = {"size": "64", "reason": "deadline"}
    assert metrics.registry.get_sample_value("cxrserve_queue_dropped_total", dropped) == 1


def test_a_reader_does_not_wait_longer_than_its_deadline(engines: Mapping[int, Engine]) -> None:
    gate = Gate(held=True)
    with opened(batcher_of(watched(engines, gate))) as batcher:
        with pytest.raises(DeadlineExceeded), batcher.admit(timeout_s=0.2) as request:
            request.result(batcher.submit(request, 64, picture(0, 64)))
        gate.open.set()


def test_what_is_cancelled_leaves_the_line_and_what_runs_finishes(engines: Mapping[int, Engine]) -> None:
    gate, gone = Gate(held=True), Cancellation()
    with (
        opened(batcher_of(watched(engines, gate))) as batcher,
        ExitStack() as inside,
    ):
        leaving = _asked(batcher, inside, 0, cancellation=gone)
        gate.reached.wait(30)  # its first scale runs
        staying = _asked(batcher, inside, 1)
        gone.cancel()
        with pytest.raises(Cancelled):
            leaving[128].result(0)  # at once, not when its turn would have come
        with pytest.raises(Cancelled), batcher.admit(cancellation=gone) as request:
            request.check()
        gate.open.set()
        assert leaving[64].result(30).logits_NF.shape == (1, 14)
        staying[128].result(30)
    assert gate.runs == [(64, [0]), (64, [1]), (128, [1])]


def test_who_gives_up_leaves_nothing_behind(engines: Mapping[int, Engine]) -> None:
    """A decision that is settled early, or another scale that failed: the rest is not run."""
    gate = Gate(held=True)
    with opened(batcher_of(watched(engines, gate))) as batcher:
        with ExitStack() as inside:
            futures = _asked(batcher, inside, 0)
            gate.reached.wait(30)
        gate.open.set()
        with pytest.raises(Cancelled):
            futures[128].result(30)
    assert gate.runs == [(64, [0])]


def test_one_image_that_fails_costs_no_neighbour(
    engines: Mapping[int, Engine], alone: dict[tuple[int, int], Output]
) -> None:
    gate = Gate(held=True)
    with (
        opened(batcher_of(watched(engines, gate, fails=frozenset({2})))) as batcher,
        ExitStack() as inside,
    ):
        asked = [_asked(batcher, inside, 0)]
        gate.reached.wait(30)
        asked += [_asked(batcher, inside, number) for number in (1, 2, 3)]
        gate.open.set()
        for number in (0, 1, 3):
            told = asked[number][128].result(30).logits_NF
            np.testing.assert_allclose(told, alone[number, 128].logits_NF, rtol=0, atol=1e-6)
        for future in asked[2].values():
            with pytest.raises(MemoryError):
                future.result(30)
    # Image 0's turn at 128 takes the others along; what is left of the one that fails then never runs.
    assert gate.runs[1] == (128, [0, 1, 2, 3])
    assert not [run for run in gate.runs if run[0] == 64 and 2 in run[1]]


class _Short:
    """An engine that loses the last image's answer of each batch, and all of number 2's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.precision, self.max_images = engine.name, engine.precision, 8

    def run(self, image_N1SS: NDArray[np.uint8]) -> Output:
        """As an engine, and short."""
        output = self._engine.run(image_N1SS)
        count = len(image_N1SS)
        if count > 1 or image_N1SS[0, 0, 0, 0] == 2:
            count -= 1
        return Output(logits_NF=output.logits_NF[:count], maps_NFhw=output.maps_NFhw[:count])

    def replica(self) -> None:
        """None: it has one owner."""


def test_an_engine_that_answers_for_too_few_has_failed(
    engines: Mapping[int, Engine], alone: dict[tuple[int, int], Output]
) -> None:
    short = {size: _Short(engine) for size, engine in engines.items()}
    with opened(batcher_of(short)) as batcher, ExitStack() as inside:
        asked = [_asked(batcher, inside, number) for number in (1, 2, 3)]
        for number, futures in zip((1, 2, 3), asked, strict=True):
            if number == 2:
                with pytest.raises(RuntimeError, match="answered for 0 images"):
                    futures[128].result(30)
            else:
                told = futures[128].result(30).logits_NF
                np.testing.assert_allclose(told, alone[number, 128].logits_NF, rtol=0, atol=1e-6)


def test_draining_finishes_what_is_inside(engines: Mapping[int, Engine]) -> None:
    gate = Gate(held=True)
    with opened(batcher_of(watched(engines, gate))) as batcher, ThreadPoolExecutor(2) as threads:

        def ask() -> Output:
            with batcher.admit() as request:
                return request.result(batcher.submit(request, 64, picture(0, 64)))

        inside = threads.submit(ask)
        gate.reached.wait(30)
        draining = threads.submit(batcher.drain, 30)
        time.sleep(0.05)
        with pytest.raises(Stopping), batcher.admit():
            pass
        gate.open.set()
        assert inside.result(30).logits_NF.shape == (1, 14)
        draining.result(30)


def test_draining_does_not_wait_for_ever(engines: Mapping[int, Engine]) -> None:
    gate = Gate(held=True)
    batcher = batcher_of(watched(engines, gate))
    with ExitStack() as inside:
        futures = _asked(batcher, inside, 0)
        gate.reached.wait(30)
        started = time.monotonic()
        batcher.drain(0.2)
        assert time.monotonic() - started < 5
        with ThreadPoolExecutor(1) as threads:
            closing = threads.submit(batcher.close)
            with pytest.raises(Stopping):
                futures[128].result(30)
            gate.open.set()
            closing.result(30)
        assert futures[64].result(0).logits_NF.shape == (1, 14)  # what runs, finishes


def test_devices_share_one_line(engines: Mapping[int, Engine]) -> None:
    """A device that is held up holds up nobody else."""
    stuck, free = Gate(held=True), Gate()
    fleet = watched(engines, stuck, max_images=1), watched(engines, free, max_images=1)
    with opened(batcher_of(*fleet)) as batcher, ExitStack() as inside:
        asked = []
        while not stuck.reached.is_set():
            asked.append(_asked(batcher, inside, 1))
        asked += [_asked(batcher, inside, 2) for _ in range(5)]
        futures = [future for each in asked for future in each.values()]
        until = time.monotonic() + 30
        while sum(future.done() for future in futures) < len(futures) - 1:
            assert time.monotonic() < until
            time.sleep(0.005)
        stuck.open.set()
        for future in futures:
            future.result(30)
    assert len(stuck.runs) >= 1
    assert len(free.runs) == len(futures) - len(stuck.runs)
