"""POST /triage: the side of each operating point, with no more computation than needed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from cxrserve.api import openapi, upload
from cxrserve.api.predict_request import FAILURES, PredictRequest, run_request
from cxrserve.api.service import Service, service_of
from cxrserve.ensemble.triage import Guarantee
from cxrserve.multipart import Body
from cxrserve.pipeline.triage import asked_findings, run_triage
from cxrserve.reports.triage import TriageAnswer, triage_answer
from cxrserve.scheduling.queue import Priority
from cxrserve.schema import Strict

router = APIRouter(tags=["predict"])


class TriageQuery(Strict):
    """The query string of /triage. An unknown parameter is an error."""

    findings: str = Field(
        "all",
        max_length=1000,
        description="`all`, or the names of findings, separated by commas. A single finding needs the least "
        "computation. Several need as much as the most expensive of them, which may be every scale.",
        examples=["all", "Pneumothorax"],
    )
    guarantee: Guarantee = Field(
        "exact",
        description="`exact`: every decision equals the full ensemble's on the same scores, always. "
        "`conformal`: the probability that any requested decision differs is at most `epsilon`, for images "
        "like those that the bundle was calibrated on, with an engine and precision of that calibration.",
    )
    epsilon: float = Field(0.001, gt=0, lt=1, description="For `guarantee=conformal`.")
    priority: Priority = Field("routine", description="As for /predict.")


@router.post(
    "/triage",
    response_model=TriageAnswer,
    summary="Triage one radiograph: above or below each operating point, with a guarantee",
    responses=openapi.problems(*FAILURES),
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def triage(
    request: Request, query: Annotated[TriageQuery, Query()], service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Runs the scales one after another and stops as soon as all requested decisions are certain.

    Send the file as for /predict. The answer says which scales ran, the bounds of each probability, and which
    guarantee holds. Research use only.
    """
    findings = asked_findings(query.findings)

    def work(predict_request: PredictRequest, files: list[bytes]) -> Body:
        result = run_triage(
            predict_request.pipeline,
            files[0],
            findings=findings,
            guarantee=query.guarantee,
            epsilon=query.epsilon,
            timeout_s=predict_request.timeout_s,
            priority=predict_request.priority,
            cancellation=predict_request.cancellation,
            reservation=predict_request.reservation,
            senders=predict_request.senders,
        )
        predict_request.record.answered(0, result.image)
        body = triage_answer(result, predict_request.bundle).model_dump_json()
        return Body(content=body.encode(), media_type="application/json")

    return await run_request(request, service, query.priority, work, max_files=1)
