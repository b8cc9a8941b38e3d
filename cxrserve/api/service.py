"""The service behind the routes: opens and closes the pipeline, admits requests, runs work on threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from fastapi import Request

from cxrserve.api.kept_uploads import KeptUploads
from cxrserve.api.refusals import RefusalCounter
from cxrserve.api.transfers import Memory, Transfers
from cxrserve.errors import ConfigurationError, CxrserveError, EngineLost, NotReady
from cxrserve.identity.clients import Clients
from cxrserve.metrics import Metrics
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.scheduling.admission import AdmissionController, Reservation, WaitLimit
from cxrserve.scheduling.queue import Priority
from cxrserve.settings import Settings

if TYPE_CHECKING:  # needs the extra [oidc]
    from cxrserve.identity.single_sign_on import SingleSignOn

_log: Final = logging.getLogger("cxrserve.api")
_Result = TypeVar("_Result")


class Service:
    """Serves one bundle.

    Attributes:
        metrics: metrics of the service and its pipeline.
        clients: those that may use it with a token of the settings.
        single_sign_on: tokens and sign-in of an identity provider; None without one.
        refusals: the refused tokens of each address.
        uploads: places of the bodies of predictions and of images for display.
        kept: files that were received for display, for a prediction that follows.
        stores: places of STOW-RS requests, apart, so that neither kind can shut out the other.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline | None) -> None:
        self.settings: Final = settings
        self.clients: Final = Clients.of(settings)
        self.single_sign_on: Final = _single_sign_on(settings)
        self.refusals: Final = RefusalCounter()
        self.metrics: Final = pipeline.metrics if pipeline is not None else Metrics()
        self._open_error: Exception | None = None
        self._pipeline = pipeline
        self._owned_by_caller: Final = pipeline is not None
        max_requests = settings.max_waiting + 1
        self.admission: Final = (
            pipeline.admission
            if pipeline is not None
            else AdmissionController(max_requests=max_requests, stat_lead_s=settings.stat_lead_s)
        )
        memory = Memory(settings.transfer_bytes)
        self.uploads: Final = Transfers(memory, limit=max_requests, setting="CXRSERVE_MAX_WAITING")
        self.kept: Final = KeptUploads(memory)
        self.stores: Final = Transfers(memory, limit=settings.max_stores, setting="CXRSERVE_MAX_STORES")
        # One thread for each request that may be inside: those that wait for the engines wait here.
        self._threads: Final = ThreadPoolExecutor(
            max_requests + settings.max_stores, thread_name_prefix="predict"
        )

    @property
    def guarded(self) -> bool:
        """True if requests need a token or a session."""
        return bool(self.clients) or self.single_sign_on is not None

    @property
    def ready(self) -> bool:
        """True once the bundle is verified and the engines are warmed up, while no engine has failed."""
        return self._pipeline is not None and self._pipeline.lost is None

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline.

        Raises:
            NotReady: it is being opened.
            EngineLost: a device failed permanently.
        """
        if self._pipeline is None:
            raise NotReady("the model is being loaded. Try again when GET /readyz answers with 200.")
        if self._pipeline.lost is not None:
            raise EngineLost(self._pipeline.lost.detail)
        return self._pipeline

    @property
    def failure(self) -> Exception | None:
        """The error that stops the server: opening the pipeline failed, or a device failed permanently."""
        return self._pipeline.lost if self._pipeline is not None else self._open_error

    async def open(self) -> None:
        """Open the pipeline on a thread, so that /healthz answers meanwhile."""
        if self._pipeline is not None:
            return
        try:
            self._pipeline = await self.in_thread(
                lambda: Pipeline(self.settings, self.metrics, self.admission)
            )
        except CxrserveError as error:
            self._open_error = error
        except Exception as error:
            _log.exception("the pipeline could not be opened")
            self._open_error = error

    async def close(self) -> None:
        """Close the pipeline, if this service opened it, and the threads.

        Requests had time to finish; one that still runs ends with its decode worker.
        """
        self.kept.close()
        if self._pipeline is not None and not self._owned_by_caller:
            await asyncio.to_thread(self._pipeline.close)
        if self.single_sign_on is not None:
            await asyncio.to_thread(self.single_sign_on.close)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def reserve_image(self, priority: Priority) -> Reservation:
        """Reserve memory and a position in the engines' queue, before the request's body is read.

        Raises:
            QueueTooLong: the image would wait too long, or would not be ready within the request's time.
            Overloaded: the maximum number of requests is inside; see `reserve`.
            NotReady: the pipeline is being opened.
            Stopping: the service is stopping.
            EngineLost: a device failed permanently.
        """
        admission = self.pipeline.admission
        in_time = WaitLimit(
            self.settings.request_timeout_s - admission.image_s(), "CXRSERVE_REQUEST_TIMEOUT_S"
        )
        limit = min(in_time, WaitLimit(self.settings.max_wait_s, "CXRSERVE_MAX_WAIT_S"))
        return admission.reserve(priority=priority, limit=limit)

    def reserve(self) -> Reservation:
        """Reserve memory for one request that needs no engine, from its first byte to its answer.

        Uploads are held in memory; this limits them to `max_waiting + 1` of `max_upload_bytes` each.

        Raises:
            Overloaded: at once, if that many requests are inside.
        """
        return self.admission.reserve()

    async def in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run `work` on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _single_sign_on(settings: Settings) -> SingleSignOn | None:
    """Single sign-on, if the settings ask for it. Its libraries are loaded only then.

    Raises:
        ConfigurationError: its file cannot be used, or the libraries are missing.
    """
    if settings.oidc is None:
        return None
    try:
        from cxrserve.identity.single_sign_on import SingleSignOn
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"CXRSERVE_OIDC needs the package {error.name}. Install it: pip install 'cxrserve[oidc]'."
        ) from None
    return SingleSignOn(settings.oidc)


async def service_of(request: Request) -> Service:
    """The service of the request's application.

    A coroutine, because FastAPI runs a plain function on a thread: on a machine whose cores are all busy,
    that alone would delay a refusal.
    """
    service: Service = request.app.state.service
    return service
