"""POST /triage: decisions only, and no more work than they need."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cxrserve.api import openapi, upload
from cxrserve.api.predict import FAILURES, Asked, PredictQuery, respond
from cxrserve.api.service import Service, service_of
from cxrserve.ensemble.decide import asked_findings, decide
from cxrserve.ensemble.line import Priority
from cxrserve.ensemble.triage import Guarantee
from cxrserve.reports.triage import TriageAnswer, triage_answer

router = APIRouter(tags=["predict"])


class TriageQuery(BaseModel):
    """The query string; a name that is not known is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    findings: str = Field(
        "all",
        max_length=1000,
        description="`all`, or names of findings with commas between them. One alone needs least work; all "
        "take as much as the dearest of them, which may be everything.",
        examples=["all", "Pneumothorax"],
    )
    guarantee: Guarantee = Field(
        "exact",
        description="`exact`: every decision is the full ensemble's of the same scores, always. `conformal`: "
        "the probability that any asked for differs is at most `epsilon`, for images like those the bundle "
        "was calibrated on, on an engine and precision it was calibrated with.",
    )
    epsilon: float = Field(0.001, gt=0, lt=1, description="For the guarantee `conformal`.")
    priority: Priority = Field("routine", description="As for /predict.")


@router.post(
    "/triage",
    response_model=TriageAnswer,
    summary="One radiograph in, the side of each operating point out, with a guarantee",
    responses=openapi.problems(*FAILURES),
    openapi_extra=openapi.body(upload.RAW_TYPES, several=False),
)
async def triage(
    request: Request, query: Annotated[TriageQuery, Query()], service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Runs the scales one after another and stops once every decision asked for is settled.

    Send the file as for /predict. The answer says which scales ran, the bounds on each probability, and which
    guarantee holds. Research use only.
    """
    findings = asked_findings(query.findings)

    def work(asked: Asked, files: list[bytes]) -> TriageAnswer:
        decided = decide(
            asked.pipeline,
            files[0],
            findings=findings,
            guarantee=query.guarantee,
            epsilon=query.epsilon,
            timeout_s=asked.deadline - time.perf_counter(),
            priority=asked.priority,
            cancelled=asked.cancelled,
            claim=asked.claim,
        )
        asked.record.answered(0, decided.image.about)
        return triage_answer(decided, asked.pipeline.predictor.bundle)

    as_predict = PredictQuery(heatmaps="none", priority=query.priority)
    return await respond(request, service, as_predict, work, most_files=1)
