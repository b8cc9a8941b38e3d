"""POST /predict and POST /predict/study: receive, read, answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cxrserve.api import openapi, upload
from cxrserve.api.problems import FileRefused
from cxrserve.api.record import Record, record_of
from cxrserve.api.service import Service, service_of
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.ensemble.predictor import Explain, explained
from cxrserve.errors import ImageError, RequestError
from cxrserve.reports.answer import Answer, StudyAnswer, answer, study_answer

router = APIRouter(tags=["predict"])

_FAILURES: Final = (400, 408, 413, 415, 422, 500, 503, 504)


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


ServiceOf = Annotated[Service, Depends(service_of)]
QueryOf = Annotated[PredictQuery, Query()]


@router.post(
    "/predict",
    response_model=Answer,
    summary="One radiograph in, 14 probabilities and heatmaps out",
    responses=openapi.problems(*_FAILURES),
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def predict(request: Request, query: QueryOf, service: ServiceOf) -> Response:
    """Send the file as `multipart/form-data` in one part named `file`, or its bytes as the body.

    DICOM, JPEG or PNG: the content decides, never the file's name or the Content-Type. Research use only.
    """

    def work(pipeline: Pipeline, files: list[bytes], explain: Explain, record: Record) -> BaseModel:
        return _judge(pipeline, files[0], 0, explain, record, pipeline.settings.request_timeout_s)

    return await _respond(request, service, query, work, most_files=1)


@router.post(
    "/predict/study",
    response_model=StudyAnswer,
    summary="Several radiographs of one study",
    responses=openapi.problems(*_FAILURES),
    openapi_extra=openapi.body((), several=True),
)
async def predict_study(request: Request, query: QueryOf, service: ServiceOf) -> Response:
    """Send the images as `multipart/form-data`, each in a part named `file`.

    Answers for each image and for the study, by the bundle's rule. Where one file is refused, so is the
    study, with that file's problem and its position as `file`, counted from 0: a study's probabilities
    never silently rest on fewer images than were sent.
    """
    most = service.settings.max_study_files

    def work(pipeline: Pipeline, files: list[bytes], explain: Explain, record: Record) -> BaseModel:
        if len(files) < 2:
            raise RequestError("a study here has at least 2 files; send a single one to /predict.")
        return _judge_study(pipeline, files, explain, record)

    return await _respond(request, service, query, work, most_files=most)


_Work = Callable[[Pipeline, list[bytes], Explain, Record], BaseModel]


async def _respond(
    request: Request, service: Service, query: PredictQuery, work: _Work, *, most_files: int
) -> Response:
    pipeline, explain = service.pipeline, _explain(query.heatmaps)
    record = record_of(request.scope)
    record.model_sha256 = pipeline.predictor.bundle.sha256
    with service.slot():
        received = await upload.receive(request, service.settings, most_files=most_files)

        def answered() -> bytes:
            files = [bytes(received.pop(0)) for _ in range(len(received))]
            for data in files:
                record.received(data)
            return work(pipeline, files, explain, record).model_dump_json().encode()

        body = await service.in_thread(answered)
    return Response(body, media_type="application/json")


def _explain(heatmaps: str) -> Explain:
    """The findings to make heatmaps of.

    Raises:
        RequestError: a name that is none of the 14; says which, and lists them.
    """
    try:
        return explained(heatmaps)
    except ValueError as error:
        raise RequestError(f"heatmaps: {error}; or send none, positive or all.") from None


def _judge(
    pipeline: Pipeline,
    data: bytes,
    position: int,
    explain: Explain,
    record: Record,
    timeout_s: float,
) -> Answer:
    reading = pipeline.read(data, explain=explain, timeout_s=timeout_s)
    judged = answer(reading, pipeline.predictor.bundle)
    record.answered(position, judged)
    return judged


def _judge_study(pipeline: Pipeline, files: list[bytes], explain: Explain, record: Record) -> StudyAnswer:
    """All images of a study share the time that one request has."""
    deadline = time.perf_counter() + pipeline.settings.request_timeout_s
    answers: list[Answer] = []
    for position, data in enumerate(files):
        try:
            left_s = deadline - time.perf_counter()
            answers.append(_judge(pipeline, data, position, explain, record, left_s))
        except (RequestError, ImageError) as error:
            raise FileRefused(position, error) from None
    return study_answer(answers, pipeline.predictor.bundle)
