"""Triage decisions as JSON and as a table, for `POST /triage` and `cxrserve predict --triage`."""

from __future__ import annotations

import math

from pydantic import Field
from rich.table import Table
from rich.text import Text

from cxrserve.bundle.contract import Bundle, Contract
from cxrserve.bundle.triage_calibration import TriageCheck
from cxrserve.ensemble.triage import Guarantee
from cxrserve.findings import NAMES
from cxrserve.pipeline.triage import TriageResult
from cxrserve.reports.answer import ImageReport, ModelAbout, image_report, model_about
from cxrserve.reports.notices import DISCLAIMER
from cxrserve.schema import Frozen
from cxrserve.warnings import ImageWarning, WarningCode


class DecisionReport(Frozen):
    """The decision on one finding: whether its probability reaches its operating point."""

    finding: str
    positive: bool = Field(description="The probability is at or above the threshold.")
    threshold: float
    lower: float = Field(description="Lower bound of the probability, under the guarantee.")
    upper: float = Field(description="Upper bound of the probability, likewise.")
    settled_by: int = Field(description="Size of the scale that settled the decision; 0: none had to run.")


class GuaranteeReport(Frozen):
    """The guarantee on the decisions."""

    name: Guarantee
    epsilon: float | None = Field(
        description="Upper bound of the probability that any requested decision differs from the full "
        "ensemble's, for an image like those of the calibration. Null for exact: none ever differs."
    )
    holds: bool = Field(
        description="False where the bundle's calibration does not cover what was served; `warnings` say why."
    )
    calibrated_on: str | None
    calibrated_with: list[str] = Field(description="Engines and precisions that the calibration covers.")
    checked: list[TriageCheck] = Field(
        description="Results of this guarantee on other images, from the bundle: for the requested findings "
        "together, or, where that was not checked, for each finding alone. Empty where nothing was "
        "checked for this epsilon."
    )


class TriageAnswer(Frozen):
    """The decisions on one radiograph, and the share of the ensemble's work they took."""

    model: ModelAbout
    disclaimer: str = DISCLAIMER
    image: ImageReport
    decisions: list[DecisionReport]
    guarantee: GuaranteeReport
    ran: list[int] = Field(description="Sizes of the scales that ran.")
    work: float = Field(
        description="Share of the full ensemble's work; the work of a scale is proportional to its pixels."
    )
    warnings: list[ImageWarning]
    timing_ms: dict[str, float]


def triage_answer(result: TriageResult, bundle: Bundle) -> TriageAnswer:
    """Make the JSON answer of a triage result."""
    triage, contract = result.triage, bundle.contract
    bounds, positive_F = triage.bounds, triage.positive_F
    return TriageAnswer(
        model=model_about(bundle),
        image=image_report(result.image, contract),
        decisions=[
            DecisionReport(
                finding=NAMES[finding],
                positive=bool(positive_F[finding]),
                threshold=contract.operating_points[NAMES[finding]].threshold,
                **_bounds(
                    NAMES[finding],
                    float(bounds.lower_F[finding]),
                    float(bounds.upper_F[finding]),
                    positive=bool(positive_F[finding]),
                    contract=contract,
                ),
                settled_by=triage.settled_by[finding],
            )
            for finding in result.findings
        ],
        guarantee=_guarantee(result, bundle),
        ran=list(triage.ran),
        work=triage.work,
        warnings=[
            *result.image.warnings,
            *(ImageWarning(code=WarningCode.NO_GUARANTEE, message=doubt) for doubt in result.doubts),
        ],
        timing_ms={stage: round(ms, 2) for stage, ms in result.timing_ms.items()},
    )


def _bounds(name: str, lower: float, upper: float, *, positive: bool, contract: Contract) -> dict[str, float]:
    """Bounds of the score as bounds of the calibrated probability, on the decision's side of the threshold.

    The calibration is strictly increasing, so its values at the bounds bound its value between them.
    """
    calibration, threshold = contract.calibration_of(name), contract.operating_points[name].threshold
    low, high = float(calibration.apply(lower)), float(calibration.apply(upper))
    if positive:
        low = max(low, threshold)
        high = max(high, low)
    else:
        high = min(high, math.nextafter(threshold, -1))
        low = min(low, high)
    return {"lower": low, "upper": high}


def _guarantee(result: TriageResult, bundle: Bundle) -> GuaranteeReport:
    calibration = bundle.contract.triage if result.guarantee == "conformal" else None
    return GuaranteeReport(
        name=result.guarantee,
        epsilon=result.epsilon,
        holds=not result.doubts,
        calibrated_on=calibration.data if calibration else None,
        calibrated_with=[str(arithmetic) for arithmetic in calibration.arithmetics] if calibration else [],
        checked=_checks(result, bundle),
    )


def _checks(result: TriageResult, bundle: Bundle) -> list[TriageCheck]:
    """The bundle's triage checks that apply to the requested findings: all together, or each alone."""
    contract = bundle.contract
    known = len(NAMES) - len(contract.unavailable)
    requested = {NAMES[finding] for finding in result.findings}
    names = {"all"} if len(requested) == known > 1 else requested
    return [
        check
        for check in (contract.triage.checked if contract.triage else ())
        if check.guarantee == result.guarantee and check.epsilon == result.epsilon and check.findings in names
    ]


def check_words(check: TriageCheck) -> str:
    """One line on the check of a guarantee, with both ends of the interval."""
    low = "" if check.differing_above is None else f"{check.differing_above:.2%} to "
    return (
        f"checked, {check.findings}: {check.differing} of {check.images} differed "
        f"(95 %: {low or 'at most '}{check.differing_below:.2%}), {check.work:.1%} of the work on average, "
        f"{check.work_worst:.0%} at worst"
    )


def triage_table(title: str, answer: TriageAnswer) -> Table:
    """One radiograph: a row for each decision; positive ones stand out."""
    ran = ", ".join(str(size) for size in answer.ran) or "no scale"
    checked = answer.guarantee.checked
    guarantee = answer.guarantee.name + (f" {answer.guarantee.epsilon:g}" if answer.guarantee.epsilon else "")
    table = Table(
        title=Text(f"{title}: {guarantee}, ran {ran}, {answer.work:.1%} of the work"),
        title_justify="left",
        caption=Text(check_words(checked[0])) if len(checked) == 1 else None,
        caption_justify="left",
        header_style="dim",
    )
    table.add_column("finding")
    for heading in ("decision", "probability", "operating point", "settled by"):
        table.add_column(heading, justify="right")
    for decision in answer.decisions:
        table.add_row(
            decision.finding,
            "positive ●" if decision.positive else "negative  ",
            f"{decision.lower:.3f} – {decision.upper:.3f}",
            f"{decision.threshold:.3f}",
            str(decision.settled_by),
            style="bold yellow" if decision.positive else "",
        )
    return table
