"""Triage calibration of a bundle: predictions of the ensemble from its coarser scales, and their errors."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cxrserve.schema import Strict


class Stage(Strict):
    """Prediction of the ensemble's logits from the coarsest K scales."""

    coefficients: tuple[tuple[float, ...], ...] = Field(
        description="One row for each finding: of the K logits of the first finding, of the second, …; "
        "a constant."
    )
    spread: tuple[float, ...] = Field(
        description="Root mean square error of the predicted logit, by finding."
    )


class TriageCheck(Strict):
    """Measured error and work of triage, on images used neither for fitting nor for calibration."""

    guarantee: Literal["exact", "conformal"]
    epsilon: float | None = Field(description="Promised bound on an image with a differing decision.")
    findings: str = Field(description='A finding decided alone, or "all".')
    data: str
    images: int = Field(ge=1)
    differing: int = Field(ge=0, description="Images with a decision that is not the full ensemble's.")
    differing_above: float | None = Field(
        None, description="Lower end of the 95 % Clopper–Pearson interval of their share; null if unknown."
    )
    differing_below: float = Field(description="Its upper end.")
    work: float = Field(description="Mean share of the full ensemble's work.")
    work_worst: float


class Arithmetic(Strict):
    """Engine and precisions that computed logits. Margins hold only for the ones they were measured on."""

    engine: str
    precisions: dict[int, str] = Field(description="By size.")

    def __str__(self) -> str:
        kinds = set(self.precisions.values())
        sizes = ", ".join(f"{size} {kind}" for size, kind in sorted(self.precisions.items()))
        return f"{self.engine} in {kinds.pop() if len(kinds) == 1 else sizes}"


class TriageCalibration(Strict):
    """The data that triage needs besides the stack, measured when the bundle was made."""

    data: str = Field(description="What the margins were measured on, in words.")
    images: int = Field(ge=0, description="How many of them; none of them fitted a stage. 0: no margins yet.")
    fitted_on: str | None = Field(None, description="What fitted the stages and the orders, in words.")
    arithmetics: tuple[Arithmetic, ...] = Field(
        (), description="Engines that computed the logits; the margins hold for each of them. Empty: unknown."
    )
    caveats: tuple[str, ...] = Field((), description="Why the promise may not hold, as sentences.")
    order: tuple[int, ...] = Field(
        description="Sizes in the order that decides all findings with the least work."
    )
    orders: tuple[tuple[int, ...], ...] = Field(description="The same for each finding alone.")
    predicts_all: bool = Field(
        True,
        description="Deciding all findings takes less work by predictions than by the exact bounds alone.",
    )
    predicts: tuple[bool, ...] = Field(description="The same for each finding alone; where equal, true.")
    stages: tuple[Stage, ...]
    worst: tuple[tuple[float, ...], ...] = Field(
        (),
        description="By image and finding, conformal scores: spreads by which a settled prediction lay on "
        "the wrong side. Of the images with one of the `reach` largest scores of any finding.",
    )
    reach: int = Field(0, ge=0, description="How many largest scores are known, of any set of findings.")
    checked: tuple[TriageCheck, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_tails(cls, data: object) -> object:
        """Convert old bundles, which have the largest scores of each finding and of all 14, not by image.

        They do not say which scores belong to the same image. If each counts as an image of its own, the
        number of images with an error is no smaller than before: the guarantee holds, with wider margins for
        several findings at once.
        """
        if not isinstance(data, dict) or "finding_tails" not in data:
            return data
        tails = data["finding_tails"]
        rows = [
            [score if finding == own else 0.0 for own in range(len(tails))]
            for finding, tail in enumerate(tails)
            for score in tail
        ]
        fields = {key: value for key, value in data.items() if key not in ("finding_tails", "joint_tail")}
        return {**fields, "worst": rows, "reach": min(map(len, tails), default=0)}
