"""Results and summaries as plain values, which can be stored and sent to another process.

Nothing here needs a DICOM library, so a summary can wait in a queue and be read by another process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, Field

from cxrserve.bundle.contract import HeatmapCurve
from cxrserve.bundle.operating_point import Decision
from cxrserve.schema import Strict
from cxrserve.warnings import ImageWarning

ObjectKind = Literal["overlay", "presentation-state", "segmentation", "report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomObject:
    """One result as a Part 10 file: explicit VR little endian, or RLE Lossless for an overlay."""

    kind: ObjectKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    part10: bytes

    @property
    def reference(self) -> Reference:
        """A reference to this object."""
        return Reference(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            series_instance_uid=self.series_instance_uid,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Selects the objects to make for each image; the report is always made."""

    overlay: bool = True
    presentation_state: bool = True
    segmentation: bool = False


class _Value(Strict):
    model_config = ConfigDict(allow_inf_nan=False)


class Region(_Value):
    """A region with evidence for a finding: a closed outline, first point = last.

    `points` are (column, row) in pixels of the stored image; 0.5, 0.5 is the middle of the first pixel
    (PS3.3 C.18.6.1.2). `share` is the part of the whole heatmap's sum inside.
    """

    points: tuple[tuple[float, float], ...] = Field(min_length=4)
    share: float


class ScaleSummary(_Value):
    """The answer of one network, for one finding."""

    size: int
    logit: float
    probability: float
    weight: float


class HeatmapSummary(_Value):
    """The strength of a finding's heatmap, in nats, and the scale on which it is shown.

    `largest` is its largest raw value in this image, `scale` the value at full colour, which is one for all
    images.
    """

    largest: float
    scale: float
    curve: HeatmapCurve

    def __str__(self) -> str:
        return f"largest {self.largest:.3g} nats, full colour at {self.scale:.3g} nats, {self.curve} scale"


class FindingSummary(_Value):
    """One finding of one image.

    `probability`, `threshold`, `score` and `decision` are None where no network of the bundle knows the
    finding, the last two also in summaries of earlier versions; `scales` are those that do. `heatmap` is None
    where none was computed, and in summaries of earlier versions.
    """

    finding: str
    probability: float | None
    threshold: float | None
    positive: bool
    scales: tuple[ScaleSummary, ...]
    regions: tuple[Region, ...] = ()
    score: float | None = None
    decision: Decision | None = None
    heatmap: HeatmapSummary | None = None


class Reference(_Value):
    """A DICOM instance of the same study."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


class ImageSummary(_Value):
    """All data of a report on one image; can be written to JSON and read back."""

    format: Literal[1] = 1
    study_instance_uid: str
    image: Reference
    rows: int
    columns: int
    view_position: str | None
    profile: str
    applied: tuple[str, ...]
    warnings: tuple[ImageWarning, ...]
    findings: tuple[FindingSummary, ...]
    overlay: Reference | None
    model_sha256: str


class Refusal(_Value):
    """An image that was not analysed, and the error (`cxrserve.errors`) as the reason. No patient data."""

    image: Reference
    slug: str
    title: str
    detail: str
