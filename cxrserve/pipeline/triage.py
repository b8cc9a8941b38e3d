"""Triage of one file: decodes it and runs scale after scale until every decision is settled."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

from cxrserve.ensemble.triage import Guarantee, Triage, doubts
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES, indices
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.scheduling.admission import Reservation
from cxrserve.scheduling.queue import Priority
from cxrserve.scheduling.request import Cancellation


def asked_findings(text: str) -> tuple[int, ...]:
    """Parse the findings to decide: names separated by commas, or "all", for which the result is empty.

    Raises:
        RequestError: a name that is none of the 14; says which, and lists them.
    """
    try:
        return () if text == "all" else indices(text.split(","))
    except ValueError as error:
        raise RequestError(f"findings: {error}; or send all.") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageResult:
    """The triage of one radiograph: the preprocessing, the decisions, and the scales that ran.

    Attributes:
        doubts: reasons why ε is not guaranteed, as sentences; empty if it is.
    """

    image: PreparedImage
    triage: Triage
    findings: tuple[int, ...]
    guarantee: Guarantee
    epsilon: float | None
    doubts: tuple[str, ...]
    timing_ms: dict[str, float]


def run_triage(
    pipeline: Pipeline,
    data: bytes,
    *,
    findings: Collection[int] = (),
    guarantee: Guarantee = "exact",
    epsilon: float = 0.001,
    timeout_s: float = math.inf,
    priority: Priority = "routine",
    cancellation: Cancellation | None = None,
    reservation: Reservation | None = None,
    senders: Collection[str] = (),
) -> TriageResult:
    """Decide on which side of its operating point each of `findings` lies; empty means all supported.

    Raises:
        RequestError: a finding that the bundle does not support, or a guarantee that it cannot give.
        BundleError: a member returned NaN or infinity.
        and whatever `Pipeline.read` raises.
    """
    started = time.perf_counter()
    predictor = pipeline.predictor
    contract = predictor.bundle.contract
    supported = [index for index, name in enumerate(NAMES) if name not in contract.unavailable]
    if unknown := [NAMES[finding] for finding in findings if finding not in supported]:
        raise RequestError(f"this bundle does not support {', '.join(unknown)}; leave it out.")
    requested = tuple(sorted(set(findings))) or tuple(supported)
    triage = Triage(
        predictor.sizes,
        predictor.weights_FS,
        predictor.score_thresholds_F,
        findings=requested,
        guarantee=guarantee,
        calibration=contract.triage,
        epsilon=epsilon,
    )
    timing_ms: dict[str, float] = {}
    with pipeline.admit(
        priority=priority, timeout_s=timeout_s, cancellation=cancellation, reservation=reservation
    ) as request:
        image = pipeline.prepare(request, data, senders=senders)
        while (size := triage.next_size()) is not None:
            output = pipeline.run(request, size, image.levels[size])
            timing_ms[f"engine_{size}"] = output.seconds * 1000
            triage.record(size, predictor.stacked_logits(size, output.logits_NF[0]))
    timing_ms = {**image.timing_ms, **timing_ms, "total": (time.perf_counter() - started) * 1000}
    return TriageResult(
        image=image,
        triage=triage,
        findings=requested,
        guarantee=guarantee,
        epsilon=epsilon if guarantee == "conformal" else None,
        doubts=doubts(contract.triage, predictor.arithmetic) if contract.triage and triage.predicts else (),
        timing_ms=timing_ms,
    )
