"""The Batcher: all requests share the engines through one line, with one owner thread for each device.

An idle device takes what comes at once. A busy one finds, when it is done, what has gathered meanwhile: the
scale whose turn it is (see `line`), and the same scale of the images behind it up to the batch's budget of
pixels. It waits for more, for `max_delay_s` at the most, only where its batch has room and images are on
their way from the decoders.

Whatever is dropped (too late, cancelled, another scale of its image failed) leaves the line at once; what
runs, finishes. An engine that fails on a batch is asked again image by image, so that nobody pays for a
neighbour: what an image is told never depends on its batch. One that is lost for good (`EngineLost`) ends the
line: all that waits is told so, and nobody is let in any more.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import Engine, Output
from cxrserve.ensemble.admission import Admission
from cxrserve.ensemble.backlog import Backlog
from cxrserve.ensemble.cancellation import Cancellation, Cancelled
from cxrserve.ensemble.claim import Claim
from cxrserve.ensemble.job import Job, too_late
from cxrserve.ensemble.line import PRIORITIES, Line, Part, Priority
from cxrserve.errors import CxrserveError, EngineLost, NotReady, Overloaded
from cxrserve.metrics import Metrics

_log: Final = logging.getLogger(__name__)


class Batcher:
    """The one owner of the engines. Thread-safe.

    Args:
        devices: for each device its engines by size; they share one line.
        metrics: where depth, wait, batch sizes and busy time are noted.
        most_images: images inside at once; more are refused.
        batch_pixels: most pixels of a batch; a single image may have more.
        max_delay_s: most time a batch with room waits for images on their way.
        stat_lead_s: the head start of stat before routine.
        expected_s: time of one image at each size, until it is measured.
        decoders: images decoded side by side.

    Attributes:
        admission: who is let in, and how long it would wait.
    """

    def __init__(
        self,
        devices: Sequence[Mapping[int, Engine]],
        metrics: Metrics,
        *,
        most_images: int,
        batch_pixels: int,
        max_delay_s: float,
        stat_lead_s: float,
        expected_s: Mapping[int, float],
        decoders: int,
    ) -> None:
        self._metrics: Final = metrics
        self._most_images: Final = most_images
        self._batch_pixels: Final = batch_pixels
        self._max_delay_s: Final = max_delay_s
        self._backlog: Final = Backlog(expected_s, devices=len(devices), decoders=decoders)
        self._changed: Final = threading.Condition()
        self.admission: Final = Admission(self._backlog, self._changed, stat_lead_s=stat_lead_s)
        self._line: Final = Line(devices[0].keys())
        self._jobs: Final[set[Job]] = set()
        self._closed = False
        for size in devices[0]:
            metrics.queue_depth.labels(size).set_function(partial(self._line.depth, size))
        metrics.images_inside.set_function(lambda: self.inside)
        for priority in PRIORITIES:
            metrics.expected_wait.labels(priority).set_function(partial(self.admission.wait_s, priority))
        self._owners: Final = [
            threading.Thread(target=self._own, args=(str(number), dict(engines)), name=f"engines-{number}")
            for number, engines in enumerate(devices)
        ]
        for owner in self._owners:
            owner.start()

    def admit(
        self,
        *,
        priority: Priority = "routine",
        timeout_s: float = math.inf,
        cancelled: Cancellation | None = None,
        claim: Claim | None = None,
        whole: bool = True,
    ) -> Job:
        """A place in the line for one image, to be used as a context manager.

        Args:
            claim: the image takes its place, where no other has.
            whole: False where it may do with some of the scales.

        Raises:
            Overloaded: at once, where as many images are inside as may be.
            EngineLost: a device has failed for good.
            NotReady: the service is stopping.
        """
        now_s = time.monotonic()
        with self._changed:
            self.admission.check_open()
            inside = len(self._jobs)
            if inside >= self._most_images:
                raise Overloaded(
                    f"{inside} images are inside, the most the engines' queue takes. Try again later.",
                    retry_after_s=self.admission.retry_after_s(inside),
                )
            place = self.admission.take(claim, priority, whole=whole)
            job = Job(self, place, priority, now_s + timeout_s, cancelled or Cancellation())
            self._jobs.add(job)
            return job

    @property
    def inside(self) -> int:
        """Images admitted and not finished."""
        return len(self._jobs)

    @property
    def lost(self) -> EngineLost | None:
        """What a device has failed with, where it will not work for this process any more."""
        return self.admission.lost

    def submit(self, job: Job, size: int, image_SS: NDArray[np.uint8]) -> Future[Output]:
        """See `Job.submit`."""
        future: Future[Output] = Future()
        part = Part(
            place=job.place,
            size=size,
            image_SS=image_SS,
            future=future,
            queued_s=time.monotonic(),
            deadline_s=job.deadline_s,
            priority=job.priority,
        )
        with self._changed:
            if self._closed or self.lost is not None or job.dropped is not None:
                _fail(part, job.dropped or self.lost or _stopping())
                return future
            job.on_its_way = False
            self._line.add(part)
            self._changed.notify_all()
        return future

    def drop(self, job: Job, error: BaseException, reason: str) -> None:
        """Take what waits of `job` out of the line and let it fail with `error`; what runs, finishes."""
        with self._changed:
            job.dropped = job.dropped or error
            dropped = self._line.drop(job.place)
            self._backlog.leave(job.place)
            job.on_its_way = False
            self._changed.notify_all()
        self._drop(dropped, error, reason)

    def leave(self, job: Job) -> None:
        """The image is answered or given up: its place is free."""
        with self._changed:
            self._jobs.discard(job)
        self.drop(job, Cancelled(), "given-up")

    def drain(self, limit_s: float) -> None:
        """Admit no more, and wait until those inside have finished, for `limit_s` at the most."""
        with self._changed:
            self.admission.closing = True
            self._changed.wait_for(lambda: not self._jobs, limit_s)

    def close(self) -> None:
        """Drop what waits and end the owners. Idempotent."""
        with self._changed:
            self.admission.closing = self._closed = True
            left = self._line.drop_all()
            self._changed.notify_all()
        self._drop(left, _stopping(), "stopping")
        for owner in self._owners:
            owner.join()

    def _own(self, device: str, engines: Mapping[int, Engine]) -> None:
        busy = self._metrics.engine_busy.labels(device)
        while parts := self._next(engines):
            started = time.monotonic()
            for part in parts:
                wait = self._metrics.queue_wait.labels(part.size, part.priority)
                wait.observe(started - part.queued_s)
            self._run(device, engines[parts[0].size], parts)
            busy.inc(time.monotonic() - started)

    def _next(self, engines: Mapping[int, Engine]) -> list[Part]:
        """The next batch for a device; empty when all is over."""
        with self._changed:
            while not self._closed and self.lost is None:
                self._drop(self._line.drop_late(time.monotonic()), too_late(), "deadline")
                head = self._line.head()
                if head is None:
                    self._changed.wait()
                    continue
                most = self._most(engines[head.size], head.size)
                patience_s = head.queued_s + self._max_delay_s - time.monotonic()
                if patience_s > 0 and self._line.depth(head.size) < most and self._more_are_coming():
                    self._changed.wait(patience_s)
                    continue
                return self._line.take(head.size, most)
        return []

    def _most(self, engine: Engine, size: int) -> int:
        return max(1, min(engine.most_images, self._batch_pixels // size**2))

    def _more_are_coming(self) -> bool:
        return any(job.on_its_way for job in self._jobs)

    def _run(self, device: str, engine: Engine, parts: Sequence[Part]) -> None:
        size, started = parts[0].size, time.perf_counter()
        with self._changed:
            self._backlog.started(device, size, [part.place for part in parts], time.monotonic())
        try:
            output = engine.run(_stacked(parts))
            _check_count(output, len(parts))
        except EngineLost as error:
            self._lose(device, parts, error)
            return
        except Exception as error:  # nothing else that an engine does ends its owner
            self._alone(device, engine, parts, error)
            return
        took_s = time.perf_counter() - started
        with self._changed:
            self._backlog.ended(device, size, took_s / len(parts))
        self._metrics.batch_images.labels(size).observe(len(parts))
        self._metrics.stage_seconds.labels(f"engine_{size}").observe(took_s)
        for position, part in enumerate(parts):
            _fulfil(part, output.of_image(position, took_s))

    def _lose(self, device: str, parts: Sequence[Part], error: EngineLost) -> None:
        """A device is gone, and with it the process's hold on all: nothing runs any more."""
        _log.error("%s", error.detail)
        with self._changed:
            self.admission.lost = self.admission.lost or error
            self._backlog.ended(device, parts[0].size, None)
            left = self._line.drop_all()
            self._changed.notify_all()
        self._drop([*parts, *left], error, "failed")

    def _alone(self, device: str, engine: Engine, parts: Sequence[Part], error: Exception) -> None:
        """A batch failed: each image for itself; one that fails alone takes its other scales with it."""
        if len(parts) > 1:
            for part in parts:
                self._run(device, engine, [part])
            return
        _fail(parts[0], error)
        with self._changed:
            self._backlog.ended(device, parts[0].size, None)
            rest = self._line.drop(parts[0].place)
        self._drop(rest, error, "failed")

    def _drop(self, parts: Sequence[Part], error: BaseException, reason: str) -> None:
        for part in parts:
            self._metrics.queue_dropped.labels(part.size, reason).inc()
            _fail(part, error)


def _stacked(parts: Sequence[Part]) -> NDArray[np.uint8]:
    """uint8 [N, 1, S, S]; one image alone is not copied."""
    return parts[0].image_SS[None, None] if len(parts) == 1 else np.stack([p.image_SS[None] for p in parts])


def _check_count(output: Output, images: int) -> None:
    """An engine that answers for fewer images than it was given has failed: whose answer is whose?"""
    if {len(output.logits_NF), len(output.maps_NFhw)} != {images}:
        raise RuntimeError(
            f"the engine answered for {len(output.logits_NF)} images, with {len(output.maps_NFhw)} maps, "
            f"where it was given {images}."
        )


def _fulfil(part: Part, output: Output) -> None:
    with suppress(InvalidStateError):  # its reader has cancelled it
        part.future.set_result(output)


def _fail(part: Part, error: BaseException) -> None:
    with suppress(InvalidStateError):
        part.future.set_exception(error)


def _stopping() -> CxrserveError:
    return NotReady("the service is stopping.")
