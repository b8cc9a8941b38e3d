"""POST /predict and POST /predict/study: receive, read, answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from cxrserve.api import departure, dicom_answer, openapi, upload
from cxrserve.api.dicom_answer import Accept, Judged, Related
from cxrserve.api.problems import FileRefused
from cxrserve.api.record import Record, record_of
from cxrserve.api.service import Service, service_of
from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.cancellation import Cancellation, Cancelled
from cxrserve.ensemble.claim import Claim
from cxrserve.ensemble.line import Priority
from cxrserve.ensemble.pipeline import Pipeline, Reading
from cxrserve.ensemble.predictor import Explain, explained
from cxrserve.errors import ImageError, RequestError
from cxrserve.imaging.sniff import sniff
from cxrserve.reports.answer import Answer, StudyAnswer, answer, study_answer

router = APIRouter(tags=["predict"])

# Images of one study inside at once.
_AHEAD: Final = 2
FAILURES: Final = (400, 406, 408, 413, 415, 422, 500, 503, 504)


class PredictQuery(BaseModel):
    """The query string; a name that is not known is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    heatmaps: str = Field(
        "positive",
        max_length=1000,
        description="`none`, `positive` (those above their operating point), `all`, or names of findings "
        "with commas between them, in any case, with blanks, `_` or `-`.",
        examples=["positive", "all", "Cardiomegaly,pleural_effusion"],
    )
    scales: Literal["numbers", "maps"] = Field(
        "numbers", description="`maps` adds to each heatmap what every single scale brings to it."
    )
    priority: Priority = Field(
        "routine",
        description="`stat` goes before `routine` requests that came a little earlier: see "
        "`CXRSERVE_STAT_LEAD_S`. None waits for ever.",
    )
    accept: Accept | None = Field(
        None,
        description="`dicom` answers with the DICOM results of a DICOM image (overlay, presentation state, "
        'structured report) as `multipart/related; type="application/dicom"`; the Accept header may ask for '
        "the same.",
    )


ServiceOf = Annotated[Service, Depends(service_of)]
QueryOf = Annotated[PredictQuery, Query()]


@router.post(
    "/predict",
    response_model=Answer,
    summary="One radiograph in, 14 probabilities and heatmaps out",
    responses=openapi.problems(*FAILURES) | dicom_answer.DOCUMENTED,
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def predict(request: Request, query: QueryOf, service: ServiceOf) -> Response:
    """Send the file as `multipart/form-data` in one part named `file`, or its bytes as the body.

    DICOM, JPEG or PNG: the content decides, never the file's name or the Content-Type. Research use only.
    """

    def work(asked: Asked, files: list[bytes]) -> BaseModel | Related:
        if asked.as_dicom:
            return dicom_answer.answered([_judge_dicom(asked, files[0], 0)], _bundle(asked))
        return _judge(asked, files[0], 0)

    return await respond(request, service, query, work, most_files=1)


@router.post(
    "/predict/study",
    response_model=StudyAnswer,
    summary="Several radiographs of one study",
    responses=openapi.problems(*FAILURES) | dicom_answer.DOCUMENTED,
    openapi_extra=openapi.body((), several=True),
)
async def predict_study(request: Request, query: QueryOf, service: ServiceOf) -> Response:
    """Send the images as `multipart/form-data`, each in a part named `file`.

    Answers for each image and for the study, by the bundle's rule. Where one file is refused, so is the
    study, with that file's problem and its position as `file`, counted from 0: a study's probabilities
    never silently rest on fewer images than were sent.
    """
    most = service.settings.max_study_files

    def work(asked: Asked, files: list[bytes]) -> BaseModel | Related:
        if len(files) < 2:
            raise RequestError("a study here has at least 2 files; send a single one to /predict.")
        if asked.as_dicom:
            return dicom_answer.answered(_each(asked, files, _judge_dicom), _bundle(asked))
        return study_answer(_each(asked, files, _judge), _bundle(asked))

    return await respond(request, service, query, work, most_files=most)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request, once its files are there.

    Attributes:
        claim: its place in the line, for its first image.
        deadline: when it must be answered, on `time.perf_counter`; all images of a study share it.
    """

    pipeline: Pipeline
    explain: Explain
    explain_scales: bool
    priority: Priority
    record: Record
    cancelled: Cancellation
    claim: Claim
    deadline: float
    as_dicom: bool


_Work = Callable[[Asked, list[bytes]], BaseModel | Related]
_One = TypeVar("_One")


async def respond(
    request: Request, service: Service, query: PredictQuery, work: _Work, *, most_files: int
) -> Response:
    """Receive the files, have `work` answer them off the loop, and let go of them when the client does."""
    pipeline, explain = service.pipeline, _explain(query.heatmaps)
    record = record_of(request.scope)
    record.model_sha256 = pipeline.predictor.bundle.sha256
    record.priority = query.priority
    with service.claim(query.priority) as claim, service.slot():
        received = await upload.receive(request, service.settings, most_files=most_files)
        claim.confirm()

        def answered() -> Related:
            files = [bytes(received.pop(0)) for _ in range(len(received))]
            for data in files:
                record.received(data)
            made = work(asked, files)
            if isinstance(made, Related):
                return made
            return Related(body=made.model_dump_json().encode(), media_type="application/json")

        async with departure.watched(request) as cancelled:
            asked = Asked(
                pipeline=pipeline,
                explain=explain,
                explain_scales=query.scales == "maps",
                priority=query.priority,
                record=record,
                cancelled=cancelled,
                claim=claim,
                deadline=time.perf_counter() + service.settings.request_timeout_s,
                as_dicom=dicom_answer.wanted(request, query.accept),
            )
            try:
                made = await service.in_thread(answered)
            except Cancelled:
                raise ClientDisconnect from None
    return Response(made.body, media_type=made.media_type)


def _explain(heatmaps: str) -> Explain:
    """The findings to make heatmaps of.

    Raises:
        RequestError: a name that is none of the 14; says which, and lists them.
    """
    try:
        return explained(heatmaps)
    except ValueError as error:
        raise RequestError(f"heatmaps: {error}; or send none, positive or all.") from None


def _judge(asked: Asked, data: bytes, position: int) -> Answer:
    pipeline = asked.pipeline
    reading = _read(asked, data)
    started = time.perf_counter()
    judged = answer(reading, pipeline.predictor.bundle)
    pipeline.metrics.stages({"drawing": (time.perf_counter() - started) * 1000})
    asked.record.answered(position, reading.image.about)
    return judged


def _judge_dicom(asked: Asked, data: bytes, position: int) -> Judged:
    dicom_answer.check_is_dicom(sniff(data))
    reading = _read(asked, data, explain="positive", preview_side=dicom_answer.PREVIEW_SIDE)
    asked.record.answered(position, reading.image.about)
    header = asked.pipeline.header(data, timeout_s=asked.deadline - time.perf_counter())
    return Judged(header=header, reading=reading)


def _read(asked: Asked, data: bytes, explain: Explain | None = None, preview_side: int = 0) -> Reading:
    return asked.pipeline.read(
        data,
        explain=asked.explain if explain is None else explain,
        explain_scales=asked.explain_scales,
        preview_side=preview_side,
        timeout_s=asked.deadline - time.perf_counter(),
        priority=asked.priority,
        cancelled=asked.cancelled,
        claim=asked.claim,
    )


def _bundle(asked: Asked) -> Bundle:
    return asked.pipeline.predictor.bundle


def _each(asked: Asked, files: list[bytes], judge: Callable[[Asked, bytes, int], _One]) -> list[_One]:
    """The images one after another; while one is with the engines, the next is decoded."""
    with ThreadPoolExecutor(_AHEAD) as threads:
        judging = [threads.submit(judge, asked, data, position) for position, data in enumerate(files)]
        judged: list[_One] = []
        try:
            for position, one in enumerate(judging):
                try:
                    judged.append(one.result())
                except (RequestError, ImageError) as error:
                    raise FileRefused(position, error) from None
        except BaseException:
            asked.cancelled.cancel()  # of a study that is refused, no image needs to be read
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return judged
