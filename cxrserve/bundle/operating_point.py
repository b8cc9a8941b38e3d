"""Operating points in a bundle: a threshold, the target it was chosen for, and what was measured at it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cxrserve.bundle.calibration import Unit
from cxrserve.bundle.threshold_counts import ThresholdCounts
from cxrserve.schema import Strict

TargetKind = Literal["youden", "sensitivity", "specificity", "ppv", "flags", "net-benefit"]
Decision = Literal["absent", "undecided", "present"]


class Target(Strict):
    """The target of an operating point."""

    kind: TargetKind
    value: float | None = Field(
        None,
        gt=0,
        description="Least sensitivity, specificity or PPV; most flags per unit; for net-benefit the odds at "
        "which a false alarm is worth a hit. Null for youden.",
    )
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="Prevalence that a PPV or a share of flags is for; null: the data's."
    )

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.kind == "youden") != (self.value is None):
            raise ValueError(
                f"the target {self.kind} has the value {self.value}: youden has none, others one"
            )
        if self.value is not None and self.kind != "net-benefit" and self.value >= 1:
            raise ValueError(f"the target {self.kind} is a share below 1, not {self.value:g}")
        return self

    def __str__(self) -> str:
        at = "" if self.prevalence is None else f" at a prevalence of {self.prevalence:g}"
        match self.kind:
            case "youden":
                return "largest sensitivity + specificity − 1 (Youden's index)"
            case "flags":
                return f"flags of at most {self.value:g} of all{at}"
            case "net-benefit":
                return f"net benefit at odds of {self.value:g}"
            case _:
                name = self.kind.upper() if self.kind == "ppv" else self.kind
                return f"{name} of at least {self.value:g}{at}"


class MeasuredShare(Strict):
    """A measured share, `count` of `total`, and its two-sided 95 % interval (Clopper and Pearson 1934)."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    count: int = Field(ge=0)
    total: int = Field(ge=1)


class DecisionPair(Strict):
    """Two thresholds: below `rule_out` the finding is absent, from `rule_in` on present, else undecided."""

    rule_out: float = Field(ge=0, le=1)
    rule_in: float = Field(ge=0, le=1)
    missed: float = Field(gt=0, lt=1, description="Largest share of the positives below `rule_out`.")
    ppv: float = Field(gt=0, lt=1, description="Least share of positives from `rule_in` on.")
    confidence: float = Field(gt=0, lt=1, description="Probability over the data that each bound holds.")
    events: int = Field(ge=1)
    non_events: int = Field(ge=1)
    undecided: float = Field(ge=0, le=1, description="Share of the data between the two.")
    data: str

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.rule_out > self.rule_in:
            raise ValueError(f"rule_out {self.rule_out:g} lies above rule_in {self.rule_in:g}")
        return self


class OperatingPoint(Strict):
    """The threshold at and above which a finding counts as positive, and what it was chosen for."""

    threshold: float = Field(ge=0, le=1, description="Of the calibrated probability.")
    sensitivity: float | None = Field(None, ge=0, le=1)
    specificity: float | None = Field(None, ge=0, le=1)
    chosen_for: str = Field(description="The rule by which it was chosen.")
    data: str = Field(description="The data on which it was chosen.")
    target: Target | None = Field(None, description="The rule as a target; null in old bundles.")
    unit: Unit | None = Field(None, description="Unit that was counted; null in old bundles.")
    events: int | None = Field(None, ge=0, description="Units with the finding.")
    non_events: int | None = Field(None, ge=0, description="Units without it.")
    measured: dict[Literal["sensitivity", "specificity", "ppv", "npv"], MeasuredShare] = Field(
        default_factory=dict, description="At the threshold, with intervals; empty in old bundles."
    )
    curve: ThresholdCounts | None = Field(
        None, description="Counts at other thresholds and at this one, on the data that was measured."
    )
    pair: DecisionPair | None = Field(
        None, description="Thresholds of rule-out and rule-in; null where nothing is left undecided."
    )

    @model_validator(mode="after")
    def _check_curve(self) -> Self:
        if self.curve is None:
            return self
        if self.threshold not in self.curve.thresholds:
            raise ValueError(f"the curve does not have the point's own threshold of {self.threshold:g}")
        totals = (self.events or 0, self.non_events or 0)
        highest = (self.curve.true_positives[0], self.curve.false_positives[0])
        if highest[0] > totals[0] or highest[1] > totals[1]:
            raise ValueError(
                f"the curve counts {highest[0]} units with the finding and {highest[1]} without; the point "
                f"has {totals[0]} events and {totals[1]} non_events"
            )
        return self

    def decision(self, probability: float) -> Decision:
        """The decision at `probability`: undecided only where the point has a pair."""
        if self.pair is None:
            return "present" if probability >= self.threshold else "absent"
        if probability < self.pair.rule_out:
            return "absent"
        return "present" if probability >= self.pair.rule_in else "undecided"
