"""The Batcher: all requests share the engines through one queue, with one worker thread for each device.

An idle device takes a task as soon as it comes. A busy device, when it is done, takes what has gathered: the
scale that is next (see `queue`), and the same scale of the images behind it up to the batch's pixel budget.
It waits for more, for at most `max_delay_s`, only if its batch has room and images are being decoded.

Tasks that are dropped (deadline passed, cancelled, another scale of the image failed) leave the queue at
once; tasks that run, finish. If an engine fails on a batch, its images are run one by one, so that no image
fails because of another: a result never depends on its batch. If a device fails permanently (`EngineLost`),
all waiting tasks fail with that error and no more images are admitted.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import Engine, Output
from cxrserve.errors import EngineLost, Stopping
from cxrserve.metrics import Metrics
from cxrserve.scheduling.admission import AdmissionController, Reservation
from cxrserve.scheduling.queue import PRIORITIES, Priority, RequestQueue, ScaleTask
from cxrserve.scheduling.request import Cancellation, Cancelled, ImageRequest, too_late
from cxrserve.scheduling.wait_estimate import WaitEstimator

_log: Final = logging.getLogger(__name__)


class Batcher:
    """Runs the scales of all images in batches on the devices. Thread-safe.

    Opens `admission`.

    Args:
        devices: the engines of each device by size; all devices share one queue.
        metrics: records depth, wait, batch sizes and busy time.
        admission: gives positions in the queue, and the lock.
        batch_pixels: maximum pixels of a batch; a single image may have more.
        max_delay_s: maximum time that a batch with room waits for images being decoded.
        expected_s: time of one image at each size, until it is measured.
        decoders: number of images decoded in parallel.
    """

    def __init__(
        self,
        devices: Sequence[Mapping[int, Engine]],
        metrics: Metrics,
        admission: AdmissionController,
        *,
        batch_pixels: int,
        max_delay_s: float,
        expected_s: Mapping[int, float],
        decoders: int,
    ) -> None:
        self._metrics: Final = metrics
        self._admission: Final = admission
        self._batch_pixels: Final = batch_pixels
        self._max_delay_s: Final = max_delay_s
        self._estimator: Final = WaitEstimator(expected_s, devices=len(devices), decoders=decoders)
        self._changed: Final = admission.lock
        self._queue: Final = RequestQueue(devices[0].keys())
        self._requests: Final[set[ImageRequest]] = set()
        self._closed = False
        admission.open(self._estimator)
        for size in devices[0]:
            metrics.queue_depth.labels(size).set_function(partial(self._queue.depth, size))
        metrics.images_inside.set_function(lambda: self.inside)
        for priority in PRIORITIES:
            metrics.expected_wait.labels(priority).set_function(partial(admission.wait_s, priority))
        self._workers: Final = [
            threading.Thread(
                target=self._worker_loop, args=(str(number), dict(engines)), name=f"engines-{number}"
            )
            for number, engines in enumerate(devices)
        ]
        for worker in self._workers:
            worker.start()

    @contextmanager
    def admit(
        self,
        *,
        priority: Priority = "routine",
        timeout_s: float = math.inf,
        cancellation: Cancellation | None = None,
        reservation: Reservation | None = None,
        all_scales: bool = True,
    ) -> Iterator[ImageRequest]:
        """Admit one image for the duration of the block; scales that still wait at its end are dropped.

        Args:
            reservation: the image takes its position, unless another image has; otherwise the last one.
            all_scales: False for an image that may need only some of its scales.

        Raises:
            EngineLost: a device failed permanently.
            Stopping: the service is stopping.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._admission.check_open()
            position = self._admission.take_position(reservation, priority, all_scales=all_scales)
            request = ImageRequest(position, priority, deadline_s, cancellation or Cancellation())
            self._requests.add(request)
        try:
            with request.cancellation.calling(lambda: self._drop_request(request, "cancelled")):
                yield request
        finally:
            with self._changed:
                self._requests.discard(request)
            self._drop_request(request, "given-up")

    @property
    def inside(self) -> int:
        """Number of images admitted and not finished."""
        return len(self._requests)

    def submit(self, request: ImageRequest, size: int, image_SS: NDArray[np.uint8]) -> Future[Output]:
        """Queue one scale of an admitted image: uint8 [S, S].

        The future receives the Output of one image (N = 1), or one of these errors: DeadlineExceeded if it
        did not run in time, Cancelled, Stopping, EngineLost, or whatever the engine raised.
        """
        task = ScaleTask(
            position=request.position,
            size=size,
            image_SS=image_SS,
            future=Future(),
            queued_s=time.monotonic(),
            deadline_s=request.deadline_s,
            priority=request.priority,
        )
        with self._changed:
            if self._closed or self._admission.failure is not None or request.dropped is not None:
                _fail(task, request.dropped or self._admission.failure or _stopping())
                return task.future
            request.decoding = False
            self._queue.add(task)
            self._changed.notify_all()
        return task.future

    def drain(self, limit_s: float) -> None:
        """Admit no more images, and wait until those inside have finished, at most `limit_s`."""
        self._admission.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._requests, limit_s)

    def close(self) -> None:
        """Drop the waiting tasks and end the worker threads. Idempotent."""
        self._admission.close()
        with self._changed:
            self._closed = True
            waiting = self._queue.drop_all()
            self._changed.notify_all()
        self._drop(waiting, _stopping(), "stopping")
        for worker in self._workers:
            worker.join()

    def _drop_request(self, request: ImageRequest, reason: str) -> None:
        """Drop the waiting tasks of an image; tasks that run, finish."""
        cancelled = Cancelled()
        with self._changed:
            request.dropped = request.dropped or cancelled
            tasks = self._queue.drop(request.position)
            self._estimator.leave(request.position)
            request.decoding = False
            self._changed.notify_all()
        self._drop(tasks, cancelled, reason)

    def _worker_loop(self, device: str, engines: Mapping[int, Engine]) -> None:
        busy = self._metrics.engine_busy.labels(device)
        while tasks := self._next_batch(engines):
            started = time.monotonic()
            for task in tasks:
                wait = self._metrics.queue_wait.labels(task.size, task.priority)
                wait.observe(started - task.queued_s)
            self._run(device, engines[tasks[0].size], tasks)
            busy.inc(time.monotonic() - started)

    def _next_batch(self, engines: Mapping[int, Engine]) -> list[ScaleTask]:
        """Wait for the next batch of a device; empty if the batcher is closed or a device is lost."""
        with self._changed:
            while not self._closed and self._admission.failure is None:
                self._drop(self._queue.drop_late(time.monotonic()), too_late(), "deadline")
                head = self._queue.head()
                if head is None:
                    self._changed.wait()
                    continue
                max_batch = self._max_batch(engines[head.size], head.size)
                delay_s = head.queued_s + self._max_delay_s - time.monotonic()
                if delay_s > 0 and self._queue.depth(head.size) < max_batch and self._is_decoding():
                    self._changed.wait(delay_s)
                    continue
                return self._queue.take(head.size, max_batch)
        return []

    def _max_batch(self, engine: Engine, size: int) -> int:
        return max(1, min(engine.max_images, self._batch_pixels // size**2))

    def _is_decoding(self) -> bool:
        return any(request.decoding for request in self._requests)

    def _run(self, device: str, engine: Engine, tasks: Sequence[ScaleTask]) -> None:
        size, started = tasks[0].size, time.perf_counter()
        with self._changed:
            self._estimator.started(device, size, [task.position for task in tasks], time.monotonic())
        try:
            output = engine.run(_stacked(tasks))
            _check_count(output, len(tasks))
        except EngineLost as error:
            self._lose(device, tasks, error)
            return
        except Exception as error:  # no other error of an engine ends its worker thread
            self._retry_one_by_one(device, engine, tasks, error)
            return
        elapsed_s = time.perf_counter() - started
        with self._changed:
            self._estimator.ended(device, size, elapsed_s / len(tasks))
        self._metrics.batch_images.labels(size).observe(len(tasks))
        self._metrics.stage_seconds.labels(f"engine_{size}").observe(elapsed_s)
        for index, task in enumerate(tasks):
            _fulfil(task, output.of_image(index, elapsed_s))

    def _lose(self, device: str, tasks: Sequence[ScaleTask], error: EngineLost) -> None:
        """A device failed permanently, and the process can use none of them any more: fail all tasks."""
        _log.error("%s", error.detail)
        self._admission.fail(error)
        with self._changed:
            self._estimator.ended(device, tasks[0].size, None)
            waiting = self._queue.drop_all()
            self._changed.notify_all()
        self._drop([*tasks, *waiting], error, "failed")

    def _retry_one_by_one(
        self, device: str, engine: Engine, tasks: Sequence[ScaleTask], error: Exception
    ) -> None:
        """Run the images of a failed batch one by one; an image that fails alone loses its other scales."""
        if len(tasks) > 1:
            for task in tasks:
                self._run(device, engine, [task])
            return
        _fail(tasks[0], error)
        with self._changed:
            self._estimator.ended(device, tasks[0].size, None)
            other_scales = self._queue.drop(tasks[0].position)
        self._drop(other_scales, error, "failed")

    def _drop(self, tasks: Sequence[ScaleTask], error: BaseException, reason: str) -> None:
        for task in tasks:
            self._metrics.queue_dropped.labels(task.size, reason).inc()
            _fail(task, error)


def _stacked(tasks: Sequence[ScaleTask]) -> NDArray[np.uint8]:
    """uint8 [N, 1, S, S]; a single image is not copied."""
    if len(tasks) == 1:
        return tasks[0].image_SS[None, None]
    return np.stack([task.image_SS[None] for task in tasks])


def _check_count(output: Output, images: int) -> None:
    """An engine that returns fewer results than images has failed: no result can be assigned to its image."""
    if {len(output.logits_NF), len(output.maps_NFhw)} != {images}:
        raise RuntimeError(
            f"the engine answered for {len(output.logits_NF)} images, with {len(output.maps_NFhw)} maps; "
            f"the batch has {images} images."
        )


def _fulfil(task: ScaleTask, output: Output) -> None:
    with suppress(InvalidStateError):  # its reader has cancelled it
        task.future.set_result(output)


def _fail(task: ScaleTask, error: BaseException) -> None:
    with suppress(InvalidStateError):
        task.future.set_exception(error)


def _stopping() -> Stopping:
    return Stopping("the service is stopping.")
