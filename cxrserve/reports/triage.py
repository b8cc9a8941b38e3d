"""Decisions as JSON and as a table: the models of `POST /triage` and `cxrserve predict --triage`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from rich.text import Text

from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.decide import Decided
from cxrserve.ensemble.early import TriageCheck
from cxrserve.ensemble.triage import Guarantee
from cxrserve.findings import NAMES
from cxrserve.reports.answer import DISCLAIMER, ImageReport, ModelAbout, image_report, model_about


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class DecisionReport(_Part):
    """One finding: on which side of its operating point its probability lies."""

    finding: str
    positive: bool = Field(description="The probability is at or above the threshold.")
    threshold: float
    lower: float = Field(description="The probability is at least this much; under the guarantee.")
    upper: float = Field(description="The probability is at most this much; likewise.")
    settled_by: int = Field(description="Size of the scale after which this was settled; 0: before any ran.")


class GuaranteeReport(_Part):
    """What is promised of the decisions."""

    name: Guarantee
    epsilon: float | None = Field(
        description="At most this is the probability that any decision asked for differs from the full "
        "ensemble's, for an image like those it was calibrated on. Null for exact: none differs, ever."
    )
    holds: bool = Field(
        description="False where the bundle's calibration does not cover what was served; `warnings` say why."
    )
    calibrated_on: str | None
    calibrated_with: list[str] = Field(description="Engines and precisions that the calibration covers.")
    checked: list[TriageCheck] = Field(
        description="What this guarantee came to on other images, as the bundle says: deciding what was "
        "asked for, or, where that was not checked, each of the findings alone. Empty where nothing was "
        "checked for this epsilon."
    )


class TriageAnswer(_Part):
    """What was decided about one radiograph, and how much of the ensemble that took."""

    model: ModelAbout
    disclaimer: str = DISCLAIMER
    image: ImageReport
    decisions: list[DecisionReport]
    guarantee: GuaranteeReport
    ran: list[int] = Field(description="Sizes of the scales that ran.")
    work: float = Field(description="Share of the full ensemble's work; a scale's work goes as its pixels.")
    warnings: list[str]
    timing_ms: dict[str, float]


def triage_answer(decided: Decided, bundle: Bundle) -> TriageAnswer:
    """`decided` as the service answers it."""
    triage, contract = decided.triage, bundle.contract
    bounds, positive_F = triage.bounds, triage.positive_F
    return TriageAnswer(
        model=model_about(bundle),
        image=image_report(decided.image, contract),
        decisions=[
            DecisionReport(
                finding=NAMES[finding],
                positive=bool(positive_F[finding]),
                threshold=contract.operating_points[NAMES[finding]].threshold,
                lower=float(bounds.lower_F[finding]),
                upper=float(bounds.upper_F[finding]),
                settled_by=triage.settled_by[finding],
            )
            for finding in decided.findings
        ],
        guarantee=_guarantee(decided, bundle),
        ran=list(triage.ran),
        work=triage.work,
        warnings=[*decided.image.warnings, *decided.doubts],
        timing_ms={stage: round(ms, 2) for stage, ms in decided.timing_ms.items()},
    )


def _guarantee(decided: Decided, bundle: Bundle) -> GuaranteeReport:
    early = bundle.contract.triage if decided.guarantee == "conformal" else None
    return GuaranteeReport(
        name=decided.guarantee,
        epsilon=decided.epsilon,
        holds=not decided.doubts,
        calibrated_on=early.data if early else None,
        calibrated_with=[str(arithmetic) for arithmetic in early.arithmetics] if early else [],
        checked=_checks(decided, bundle),
    )


def _checks(decided: Decided, bundle: Bundle) -> list[TriageCheck]:
    """Those of what was asked for: of all that the bundle knows together, or of each finding alone."""
    contract = bundle.contract
    known = len(NAMES) - len(contract.unavailable)
    asked = {NAMES[finding] for finding in decided.findings}
    names = {"all"} if len(asked) == known > 1 else asked
    return [
        check
        for check in (contract.triage.checked if contract.triage else ())
        if check.guarantee == decided.guarantee
        and check.epsilon == decided.epsilon
        and check.findings in names
    ]


def check_words(check: TriageCheck) -> str:
    """One line of what a guarantee came to, with both ends of the interval."""
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
    promise = answer.guarantee.name + (f" {answer.guarantee.epsilon:g}" if answer.guarantee.epsilon else "")
    table = Table(
        title=Text(f"{title}: {promise}, ran {ran}, {answer.work:.1%} of the work"),
        title_justify="left",
        caption=Text(check_words(checked[0])) if len(checked) == 1 else None,
        caption_justify="left",
        header_style="dim",
    )
    table.add_column("finding")
    for heading in ("decision", "probability", "operating point", "settled by"):
        table.add_column(heading, justify="right")
    for one in answer.decisions:
        table.add_row(
            one.finding,
            "positive ●" if one.positive else "negative  ",
            f"{one.lower:.3f} – {one.upper:.3f}",
            f"{one.threshold:.3f}",
            str(one.settled_by),
            style="bold yellow" if one.positive else "",
        )
    return table
