"""Runs one prediction request: receive the files, run the work on a thread, answer with its body."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from cxrserve.api import upload
from cxrserve.api.compression import compressed, wants_gzip
from cxrserve.api.disconnect import cancelled_on_disconnect
from cxrserve.api.request_log import RequestRecord, record_of
from cxrserve.api.service import Service
from cxrserve.api.transfers import Transfer
from cxrserve.bundle.contract import Bundle
from cxrserve.errors import RequestError
from cxrserve.multipart import Body
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.scheduling.admission import Reservation
from cxrserve.scheduling.queue import Priority
from cxrserve.scheduling.request import Cancellation, Cancelled

# The problems that a prediction may answer with.
FAILURES = (400, 406, 408, 413, 415, 422, 500, 503, 504)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRequest:
    """A request for one or several images, once its files were received.

    Attributes:
        reservation: its position in the queue, for its first image.
        deadline: when it must be answered, on `time.perf_counter`; all images of a study share it.
    """

    pipeline: Pipeline
    priority: Priority
    record: RequestRecord
    cancellation: Cancellation
    reservation: Reservation
    deadline: float

    @property
    def bundle(self) -> Bundle:
        """The bundle that answers."""
        return self.pipeline.predictor.bundle

    @property
    def senders(self) -> tuple[str, ...]:
        """The name of the client, for the watch; empty where the service names none."""
        return (self.record.client,) if self.record.client else ()

    @property
    def timeout_s(self) -> float:
        """Seconds that are left until the deadline."""
        return self.deadline - time.perf_counter()


Work = Callable[[PredictRequest, list[bytes]], Body]
# Takes a file that the service has already; the transfer holds its memory.
Take = Callable[[Transfer], Awaitable[bytes]]


async def run_request(
    request: Request,
    service: Service,
    priority: Priority,
    work: Work,
    *,
    max_files: int,
    take: Take | None = None,
) -> Response:
    """Receive the files and run `work` on a thread. Cancel it when the client disconnects.

    Args:
        take: takes a file of the service in the place of the body.
    """
    pipeline = service.pipeline
    record = record_of(request.scope)
    record.model_sha256 = pipeline.predictor.bundle.sha256
    record.priority = priority
    with service.reserve_image(priority) as reservation, service.uploads.begin(record.address) as transfer:
        received: list[bytearray] | list[bytes]
        if take is None:
            received = await upload.receive(request, service.settings, transfer, max_files=max_files)
        else:
            received = [await take(transfer)]
        transfer.arrived()
        reservation.confirm()
        async with cancelled_on_disconnect(request) as cancellation:
            predict_request = PredictRequest(
                pipeline=pipeline,
                priority=priority,
                record=record,
                cancellation=cancellation,
                reservation=reservation,
                deadline=time.perf_counter() + service.settings.request_timeout_s,
            )

            def run() -> Response:
                files = [bytes(received.pop(0)) for _ in range(len(received))]  # one copy in memory at a time
                for data in files:
                    record.received(data)
                body = work(predict_request, files)
                is_text = body.media_type.endswith("json")
                content, headers = compressed(body.content, wanted=is_text and wants_gzip(request))
                return Response(content, media_type=body.media_type, headers=headers)

            try:
                return await service.in_thread(run)
            except Cancelled:
                raise ClientDisconnect from None


def kept_upload(request: Request, service: Service, name: str) -> Take:
    """Take the file of an earlier upload that the service holds.

    Taking it raises:
        RequestError: the request has a body as well.
        UploadGone: there is no such upload.
    """

    async def take(transfer: Transfer) -> bytes:
        if upload.has_body(request):
            raise RequestError("the request has a body and names an earlier `upload`. Send one of them.")
        data = service.kept.take(record_of(request.scope), name)
        transfer.hold(len(data))
        return data

    return take
