"""What goes back into a study, and what a report is made of: plain values that can be kept and sent on.

Nothing here needs a DICOM library, so a summary can wait in a queue and be read by another process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ObjectKind = Literal["overlay", "presentation-state", "segmentation", "report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomObject:
    """One result as a Part 10 file, explicit VR little endian."""

    kind: ObjectKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    part10: bytes

    @property
    def reference(self) -> Reference:
        """What another object says to point at this one."""
        return Reference(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            series_instance_uid=self.series_instance_uid,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Which objects are made for each image; the report is always made."""

    overlay: bool = True
    presentation_state: bool = True
    segmentation: bool = False


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Region(_Part):
    """Where the evidence for a finding lies: a closed outline, first point = last.

    `points` are (column, row) in pixels of the stored image; 0.5, 0.5 is the middle of the first pixel
    (PS3.3 C.18.6.1.2). `share` is the part of the whole heatmap's sum inside.
    """

    points: tuple[tuple[float, float], ...] = Field(min_length=4)
    share: float


class ScaleSummary(_Part):
    """What the network of one size says."""

    size: int
    logit: float
    probability: float
    weight: float


class FindingSummary(_Part):
    """One finding of one image.

    `probability` and `threshold` are None where no network of the bundle knows the finding; `scales` are
    those that do.
    """

    finding: str
    probability: float | None
    threshold: float | None
    positive: bool
    scales: tuple[ScaleSummary, ...]
    regions: tuple[Region, ...] = ()


class Reference(_Part):
    """A DICOM instance of the same study."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


class ImageSummary(_Part):
    """Everything a report says of one image; JSON goes in and out."""

    format: Literal[1] = 1
    study_instance_uid: str
    image: Reference
    rows: int
    columns: int
    view_position: str | None
    profile: str
    applied: tuple[str, ...]
    warnings: tuple[str, ...]
    findings: tuple[FindingSummary, ...]
    overlay: Reference | None
    model_sha256: str


class Refusal(_Part):
    """An image that was not judged, and the error that says why (`cxrserve.errors`, no patient data)."""

    image: Reference
    slug: str
    title: str
    detail: str
