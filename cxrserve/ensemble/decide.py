"""Decisions about one file: decode, then scale after scale until every decision is settled."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from cxrserve.ensemble.cancellation import Cancellation
from cxrserve.ensemble.claim import Claim
from cxrserve.ensemble.line import Priority
from cxrserve.ensemble.pipeline import Pipeline
from cxrserve.ensemble.triage import Guarantee, Triage, doubts
from cxrserve.errors import BundleError, RequestError
from cxrserve.findings import NAMES, indices
from cxrserve.imaging.prepared import PreparedImage


def asked_findings(text: str) -> tuple[int, ...]:
    """The findings to decide: names with commas between them, or "all", which are none in particular.

    Raises:
        RequestError: a name that is none of the 14; says which, and lists them.
    """
    try:
        return () if text == "all" else indices(text.split(","))
    except ValueError as error:
        raise RequestError(f"findings: {error}; or send all.") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """One radiograph: what was done to it, and what was decided after which scales.

    Attributes:
        doubts: why ε is not guaranteed for it, as sentences; none where it is.
    """

    image: PreparedImage
    triage: Triage
    findings: tuple[int, ...]
    guarantee: Guarantee
    epsilon: float | None
    doubts: tuple[str, ...]
    timing_ms: dict[str, float]


def decide(
    pipeline: Pipeline,
    data: bytes,
    *,
    findings: Collection[int] = (),
    guarantee: Guarantee = "exact",
    epsilon: float = 0.001,
    timeout_s: float = math.inf,
    priority: Priority = "routine",
    cancelled: Cancellation | None = None,
    claim: Claim | None = None,
) -> Decided:
    """Decide on which side of its operating point each of `findings` lies; none asked for means all known.

    Raises:
        RequestError: a finding that the bundle does not know, or a guarantee that it cannot give.
        BundleError: a member answered NaN or infinity.
        and whatever `Pipeline.read` raises.
    """
    started = time.perf_counter()
    predictor = pipeline.predictor
    contract = predictor.bundle.contract
    known = [index for index, name in enumerate(NAMES) if name not in contract.unavailable]
    if unknown := [NAMES[finding] for finding in findings if finding not in known]:
        raise RequestError(f"this bundle does not know {', '.join(unknown)}; leave it out.")
    wanted = tuple(sorted(set(findings))) or tuple(known)
    triage = Triage(
        predictor.sizes,
        predictor.weights_FS,
        predictor.thresholds_F,
        findings=wanted,
        guarantee=guarantee,
        early=contract.triage,
        epsilon=epsilon,
    )
    timing_ms: dict[str, float] = {}
    with pipeline.admit(priority=priority, timeout_s=timeout_s, cancelled=cancelled, claim=claim) as job:
        image = pipeline.prepare(job, data)
        while (size := triage.next_size()) is not None:
            output = job.result(job.submit(size, image.levels[size]))
            timing_ms[f"engine_{size}"] = output.seconds * 1000
            logits_F = output.logits_NF[0]
            if not np.isfinite(logits_F).all():
                raise BundleError("a member answered with a score that is not a number: nothing can be said")
            triage.tell(size, logits_F)
    timing_ms = {**image.timing_ms, **timing_ms, "total": (time.perf_counter() - started) * 1000}
    return Decided(
        image=image,
        triage=triage,
        findings=wanted,
        guarantee=guarantee,
        epsilon=epsilon if guarantee == "conformal" else None,
        doubts=doubts(contract.triage, predictor.arithmetic) if contract.triage and triage.predicts else (),
        timing_ms=timing_ms,
    )
