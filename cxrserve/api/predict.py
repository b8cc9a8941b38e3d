"""POST /predict and POST /predict/study: probabilities and heatmaps of uploaded radiographs."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from cxrserve.api import dicom_response, openapi, picture_response, upload
from cxrserve.api.accept import FHIR_TYPE, PNG_TYPE, AnswerForm, answer_form
from cxrserve.api.dicom_response import ImageResult
from cxrserve.api.fhir_response import fhir_body
from cxrserve.api.predict_request import FAILURES, PredictRequest, Take, kept_upload, run_request
from cxrserve.api.problems import FileRefused
from cxrserve.api.service import Service, service_of
from cxrserve.ensemble.predictor import Explain, explained
from cxrserve.errors import ImageError, NotAcceptable, RequestError
from cxrserve.imaging.sniff import sniff
from cxrserve.multipart import Body
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.answer import Answer, StudyAnswer, answer, study_answer
from cxrserve.scheduling.queue import Priority
from cxrserve.schema import Strict

router = APIRouter(tags=["predict"])

_MAX_IMAGES_IN_PIPELINE: Final = 2  # of one study: the engines run one while the next is decoded
_DICOM_FORMS: Final = {"dicom": dicom_response.dicom_body, "fhir": fhir_body}
_FORMS: Final = {
    **dicom_response.DOCUMENTED[200]["content"],
    FHIR_TYPE: {"schema": {"type": "object"}},
}
_PNG: Final = {PNG_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_Result = TypeVar("_Result")
_PredictImage = Callable[[PredictRequest, bytes, int], _Result]


class PredictQuery(Strict):
    """The query string of /predict. An unknown parameter is an error."""

    heatmaps: str = Field(
        "positive",
        max_length=1000,
        description="`none`, `positive` (findings above their operating point), `all`, or the names of "
        "findings, separated by commas. Names may be in any case, with blanks, `_` or `-`.",
        examples=["positive", "all", "Cardiomegaly,pleural_effusion"],
    )
    scales: Literal["numbers", "maps"] = Field(
        "numbers", description="`maps` adds the contribution of every single scale to each heatmap."
    )
    priority: Priority = Field(
        "routine",
        description="`stat` overtakes `routine` requests that arrived a little earlier (see "
        "`CXRSERVE_STAT_LEAD_S`). No request waits forever.",
    )
    contours: bool = Field(
        False, description="Adds the outlines of the evidence of each heatmap, as polygons in pixels."
    )
    accept: AnswerForm | None = Field(
        None,
        description="The form of the answer, as the Accept header can request it. `dicom`: the results of a "
        "DICOM image (overlay, presentation state, structured report) as "
        '`multipart/related; type="application/dicom"`. `fhir`: a DiagnosticReport of a DICOM image '
        "(`application/fhir+json`). `png`: one heatmap over the radiograph (`image/png`), of the finding "
        "that `heatmaps` names, or of the most urgent one above its operating point.",
    )


class ImageQuery(PredictQuery):
    """The query string of /predict for one image."""

    upload: str | None = Field(
        None,
        max_length=64,
        description="The `X-Upload` that `POST /display?keep=true` answered with, within the last minute, "
        "in place of a body. Where that file is not held any more, the answer is 410: send the file.",
    )


ServiceOf = Annotated[Service, Depends(service_of)]
QueryOf = Annotated[PredictQuery, Query()]
FORMS_OF_AN_IMAGE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": _FORMS | _PNG}}
ImageQueryOf = Annotated[ImageQuery, Query()]


@router.post(
    "/predict",
    response_model=Answer,
    summary="Predict one radiograph: 14 probabilities and heatmaps",
    responses=openapi.problems(*FAILURES, 410) | FORMS_OF_AN_IMAGE,
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def predict(request: Request, query: ImageQueryOf, service: ServiceOf) -> Response:
    """Send the file as `multipart/form-data` in one part named `file`, or its bytes as the body.

    The file is DICOM, JPEG or PNG. Its content decides, not its name or the Content-Type. Research use only.
    """
    take = None if query.upload is None else kept_upload(request, service, query.upload)
    return await predict_image(request, query, service, take)


async def predict_image(
    request: Request, query: PredictQuery, service: Service, take: Take | None
) -> Response:
    """Predict the image of the body, or the one that `take` takes, in the form that the request asks for."""
    form = answer_form(request, query.accept)
    images = _Images(query)
    if form == "png":
        picture_response.check_names_a_finding(images.explain)

    def work(predict_request: PredictRequest, files: list[bytes]) -> Body:
        if form == "png":
            return images.predict_picture(predict_request, files[0])
        if form == "json":
            return _json(images.predict(predict_request, files[0], 0))
        result = images.predict_dicom(predict_request, files[0], 0)
        return _DICOM_FORMS[form]([result], predict_request.bundle)

    return await run_request(request, service, query.priority, work, max_files=1, take=take)


@router.post(
    "/predict/study",
    response_model=StudyAnswer,
    summary="Predict several radiographs of one study",
    responses=openapi.problems(*FAILURES) | {200: {"content": _FORMS}},
    openapi_extra=openapi.body((), several=True),
)
async def predict_study(request: Request, query: QueryOf, service: ServiceOf) -> Response:
    """Send the images as `multipart/form-data`, each in a part named `file`.

    The answer has the results of each image and of the study, by the bundle's rule. If one file is refused,
    the study is refused: the problem is that file's, and `file` is its position, counted from 0. So a
    study's probabilities always rest on all the images that were sent.
    """
    form = answer_form(request, query.accept)
    images = _Images(query)
    if form == "png":
        raise NotAcceptable("a picture shows one image. Send each image to /predict, or ask for JSON.")

    def work(predict_request: PredictRequest, files: list[bytes]) -> Body:
        if len(files) < 2:
            raise RequestError("a study needs at least 2 files; send a single file to /predict.")
        if form != "json":
            results = _predict_all(predict_request, files, images.predict_dicom)
            return _DICOM_FORMS[form](results, predict_request.bundle)
        answers = _predict_all(predict_request, files, images.predict)
        return _json(study_answer(answers, predict_request.bundle))

    max_files = service.settings.max_study_files
    return await run_request(request, service, query.priority, work, max_files=max_files)


class _Images:
    """Predicts single images as the query wants them.

    Raises:
        RequestError: `heatmaps` has a name that is none of the 14; the message lists them.
    """

    def __init__(self, query: PredictQuery) -> None:
        self.explain: Final = _explain(query.heatmaps)
        self._explain_scales: Final = query.scales == "maps"
        self._contours: Final = query.contours

    def predict(self, predict_request: PredictRequest, data: bytes, position: int) -> Answer:
        """The JSON answer for one image."""
        reading = self._read(predict_request, data, self.explain, preview_side=0)
        started = time.perf_counter()
        result = answer(reading, predict_request.bundle, contours=self._contours)
        predict_request.pipeline.metrics.stages({"drawing": (time.perf_counter() - started) * 1000})
        predict_request.record.answered(position, reading.image)
        return result

    def predict_picture(self, predict_request: PredictRequest, data: bytes) -> Body:
        """One finding's heatmap over the image, as PNG."""
        # "all" may only draw a positive one, so that the maps of the others need not be made.
        explain: Explain = "positive" if isinstance(self.explain, str) else self.explain
        reading = self._read(predict_request, data, explain, preview_side=picture_response.PREVIEW_SIDE)
        predict_request.record.answered(0, reading.image)
        return picture_response.picture_body(reading, predict_request.bundle, explain)

    def predict_dicom(self, predict_request: PredictRequest, data: bytes, position: int) -> ImageResult:
        """The reading and the header of one DICOM image."""
        dicom_response.check_is_dicom(sniff(data))
        reading = self._read(predict_request, data, "positive", preview_side=dicom_response.PREVIEW_SIDE)
        predict_request.record.answered(position, reading.image)
        header = predict_request.pipeline.header(data, timeout_s=predict_request.timeout_s)
        return ImageResult(header=header, reading=reading)

    def _read(
        self, predict_request: PredictRequest, data: bytes, explain: Explain, *, preview_side: int
    ) -> Reading:
        return predict_request.pipeline.read(
            data,
            explain=explain,
            explain_scales=self._explain_scales,
            preview_side=preview_side,
            timeout_s=predict_request.timeout_s,
            priority=predict_request.priority,
            cancellation=predict_request.cancellation,
            reservation=predict_request.reservation,
            senders=predict_request.senders,
        )


def _explain(heatmaps: str) -> Explain:
    """The findings that get a heatmap.

    Raises:
        RequestError: a name is none of the 14; the message lists them.
    """
    try:
        return explained(heatmaps)
    except ValueError as error:
        raise RequestError(f"heatmaps: {error}; or send none, positive or all.") from None


def _json(result: BaseModel) -> Body:
    return Body(content=result.model_dump_json().encode(), media_type="application/json")


def _predict_all(
    predict_request: PredictRequest, files: list[bytes], predict_image: _PredictImage[_Result]
) -> list[_Result]:
    """The results of all images, in order. While the engines run one image, the next is decoded.

    Raises:
        FileRefused: one image was refused; the others are cancelled.
    """
    with ThreadPoolExecutor(_MAX_IMAGES_IN_PIPELINE) as threads:
        futures = [
            threads.submit(predict_image, predict_request, data, position)
            for position, data in enumerate(files)
        ]
        results: list[_Result] = []
        try:
            for position, future in enumerate(futures):
                try:
                    results.append(future.result())
                except (RequestError, ImageError) as error:
                    raise FileRefused(position, error) from None
        except BaseException:
            predict_request.cancellation.cancel()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return results
