"""Labels of readers as requests and answers: what a reader says about a finding of a study."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from cxrserve.bundle.operating_point import Decision
from cxrserve.findings import NAMES
from cxrserve.schema import Frozen, Strict

LabelValue = Literal["present", "absent", "unsure", "withdrawn"]
Verdict = Literal["agrees", "disagrees"]


class GivenLabel(Strict):
    """A label that a reader gives now."""

    finding: str = Field(examples=["Pneumothorax"])
    label: LabelValue = Field(
        description="unsure: the reader does not know; withdrawn: earlier labels of the finding do not count."
    )

    @field_validator("finding")
    @classmethod
    def _is_finding(cls, name: str) -> str:
        if name not in NAMES:
            raise ValueError(f"is no finding; the findings are {', '.join(NAMES)}")
        return name


class GivenLabels(Strict):
    """The labels that a reader gives a study, all or nothing."""

    labels: list[GivenLabel] = Field(min_length=1, max_length=len(NAMES))

    @field_validator("labels")
    @classmethod
    def _are_different(cls, labels: list[GivenLabel]) -> list[GivenLabel]:
        if len({label.finding for label in labels}) < len(labels):
            raise ValueError("name each finding once")
        return labels


class Label(Frozen):
    """One label of a study."""

    number: int = Field(description="Position within the study: 1, 2, …")
    finding: str
    label: LabelValue
    verdict: Verdict | None = Field(
        description="Whether the label agrees with the decision of the service at that moment; null where "
        "either of them takes no side."
    )
    reader: str = Field(description="Name of the client or user; empty where the service has none.")
    given: float = Field(description="Time, in seconds since 1970.")
    decision: str | None = Field(description="Decision of the service then; null before it had results.")
    probability: float | None
    model: str = Field(description="Model and site file that decided.")


class StudyLabels(Frozen):
    """The labels of a study."""

    current: list[Label] = Field(description="The newest label of each finding; not those withdrawn.")
    history: list[Label] = Field(description="All labels, in the order in which they were given.")
    decisions: dict[str, Decision] = Field(
        default_factory=dict,
        description="Decision of the service on each finding of the study now; empty before it has results.",
    )
