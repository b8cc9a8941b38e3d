"""The service: the pipeline behind the routes, from its opening to its end, and the door in front of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from fastapi import Request

from cxrserve.ensemble.claim import Claim, Limit
from cxrserve.ensemble.line import Priority
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.errors import CxrserveError, EngineLost, NotReady, Overloaded
from cxrserve.metrics import Metrics
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.api")
_Result = TypeVar("_Result")


class Slot:
    """One request's place; it is free again when the block ends, unless it is kept.

    Attributes:
        kept: True once somebody else will call `free`.
    """

    def __init__(self, free: Callable[[], None]) -> None:
        self._free: Callable[[], None] | None = free
        self.kept = False

    def keep(self) -> None:
        """Hold the place beyond the block, until `free`."""
        self.kept = True

    def free(self) -> None:
        """Give the place to the next one. Idempotent."""
        free, self._free = self._free, None
        if free is not None:
            free()


class Service:
    """One bundle being served.

    Attributes:
        metrics: of the service and its pipeline.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline | None) -> None:
        self.settings: Final = settings
        self.metrics: Final = pipeline.metrics if pipeline is not None else Metrics()
        self._not_opened: Exception | None = None
        self._pipeline = pipeline
        self._brought: Final = pipeline is not None
        self._slots: Final = settings.max_waiting + 1
        self._taken = 0
        # One thread a request that may be inside: those that wait for the engines wait here.
        self._threads: Final = ThreadPoolExecutor(self._slots, thread_name_prefix="predict")

    @property
    def ready(self) -> bool:
        """True once the bundle is verified, the engines are built and a warm-up has run, and none is lost."""
        return self._pipeline is not None and self._pipeline.lost is None

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline.

        Raises:
            NotReady: it is still being opened.
            EngineLost: a device that computes has failed for good.
        """
        if self._pipeline is None:
            raise NotReady("the model is being loaded; GET /readyz tells when it is done. Try again then.")
        if self._pipeline.lost is not None:
            raise EngineLost(self._pipeline.lost.detail)
        return self._pipeline

    @property
    def failure(self) -> Exception | None:
        """Why the pipeline could not be opened, or cannot go on; the server stops with it."""
        return self._pipeline.lost if self._pipeline is not None else self._not_opened

    async def open(self) -> None:
        """Open the pipeline off the loop, so that /healthz answers meanwhile."""
        if self._pipeline is not None:
            return
        try:
            self._pipeline = await self.in_thread(lambda: Pipeline(self.settings, self.metrics))
        except CxrserveError as error:
            self._not_opened = error
        except Exception as error:
            _log.exception("the pipeline could not be opened")
            self._not_opened = error

    async def close(self) -> None:
        """End the pipeline, if it was opened here, and the threads.

        Requests had their time to finish; one that is left ends as its decode worker does.
        """
        if self._pipeline is not None and not self._brought:
            await asyncio.to_thread(self._pipeline.close)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def claim(self, priority: Priority) -> Claim:
        """A place in the engines' line for a request whose body has not been read.

        Raises:
            LineTooLong: at once, where it would wait longer than it may, or not be read in its time.
            NotReady: the pipeline is still being opened, or the service is stopping.
        """
        in_time = Limit(
            self.settings.request_timeout_s - self.pipeline.image_s(), "CXRSERVE_REQUEST_TIMEOUT_S"
        )
        limit = min(in_time, Limit(self.settings.max_wait_s, "CXRSERVE_MAX_WAIT_S"))
        return self.pipeline.claim(priority=priority, limit=limit)

    @contextmanager
    def slot(self) -> Iterator[Slot]:
        """A place for one request, from its first byte to its answer, or longer where that is large: `Slot`.

        Uploads lie in memory; this bounds them to `max_waiting + 1` of `max_upload_bytes` each.

        Raises:
            Overloaded: at once, where all places are taken; says when those inside will have been read.
            NotReady: the pipeline is still being opened.
        """
        if self._taken >= self._slots:
            raise Overloaded(
                f"{self._taken} requests are being worked on, the most this service takes. Try again later.",
                retry_after_s=self.pipeline.retry_after_s(self._taken),
            )
        self._taken += 1
        place = Slot(self._free)
        try:
            yield place
        finally:
            if not place.kept:
                place.free()

    def _free(self) -> None:
        self._taken -= 1

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run `work` off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def service_of(request: Request) -> Service:
    """The service of this request's application.

    A coroutine, since FastAPI sends every plain function that it depends on through a thread: on a machine
    whose cores are all at work, that alone would keep a refusal waiting.
    """
    service: Service = request.app.state.service
    return service
