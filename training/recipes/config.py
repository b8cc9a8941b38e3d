"""Parts of a recipe: frozen, of plain values, so that each can be set from a command line by name.

Settable as `fits.256.batch`, `data.split.folds` or `preprocessing.filter`. A variant of a recipe is that
recipe with fields replaced (`dataclasses.replace`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from cxrserve.bundle.contract import STRIDE
from cxrserve.imaging.pyramid import Preprocessing
from training.datasets.labels import LabelPolicy
from training.datasets.views import ViewFilter
from training.recipes.fitting import FitConfig

Architecture = Literal[
    "small", "densenet121", "densenet161", "densenet121d", "densenetblur121d", "efficientnet_b4"
]
HeadKind = Literal["linear", "concat"]
SIZES: Final = (256, 512, 1024, 2048)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleUnit:
    """Unit of a sample: an image or a study.

    Attributes:
        kind: "images", or "studies": images of one study get one label and one logit.
        over_views: how the logits of a study's images become one: their maximum, or the log odds of the mean
            of their probabilities.
        max_views: images that are taken of a study; the first ones.
    """

    kind: Literal["images", "studies"] = "images"
    over_views: Literal["maximum", "mean"] = "maximum"
    max_views: int = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Split of the images into training, validation and test.

    Attributes:
        kind: "patient-folds": every patient is tested in one of `folds`; "random": by patient, once;
            "official": as the dataset's authors did; "by-row": by image, which leaks, for comparison only.
        folds, test_share: of patient-folds (whose test is 1/folds of the patients), and of the two others.
        validation_share: of what is left after the test in folds and official parts, of everything else.
        seed: of the ranking of patients.
    """

    kind: Literal["patient-folds", "random", "official", "by-row"]
    folds: int = 5
    validation_share: float = 0.1
    test_share: float = 0.1
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomData:
    """Phantoms drawn for the run: seeds count up from `first_seed`, training, validation, test in turn."""

    training: int
    validation: int
    test: int
    first_seed: int = 0
    sample_unit: SampleUnit = SampleUnit()


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetData:
    """Films on disk.

    Attributes:
        source: the kind of dataset the publication used; `--data kind:path` may name another.
        policy: what uncertain and unmentioned findings are taken for.
        finding: the one finding that is learnt, positive or uncertain against denied or "No Finding"
            (`labels.study_targets`), the others being masked and unavailable in the bundle; or None: all 14.
        views: which projections are kept.
        with_a_positive: keep only images with a positive label, "No Finding" among them.
    """

    source: str
    split: SplitConfig
    policy: LabelPolicy = field(default_factory=LabelPolicy)
    finding: str | None = None
    views: ViewFilter = "all"
    with_a_positive: bool = False
    sample_unit: SampleUnit = SampleUnit()


@dataclass(frozen=True, kw_only=True, slots=True)
class StackConfig:
    """Fit of the stacking weights: full batch, on validation logits.

    Attributes:
        kind: "published": weights of the networks' own probabilities, as Haque, Dubey and Hinkle fit them;
            "calibrated": each network is calibrated by finding first, and the weights are those of the
            calibrated probabilities, fitted with the logistic map that calibrates their sum.
    """

    kind: Literal["published", "calibrated"] = "published"
    epochs: int = 100
    learning_rate: float = 0.1
    decay: float = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationConfig:
    """Calibration of the bundle's probabilities, as `cxrserve models calibrate` does it.

    Attributes:
        phantoms: how many are drawn for it alone, with seeds from `first_seed` on; 0 calibrates nothing. Only
            a recipe that trains on phantoms can draw them: a bundle of films is calibrated by the command, on
            films that trained nothing.
    """

    phantoms: int = 0
    first_seed: int = 3_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmCheckConfig:
    """Fit of the film check's network on the training images, and how many of them it needs at least."""

    steps: int = 1000
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    seed: int = 0
    min_images: int = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A complete run. `fits` holds one entry for each of `preprocessing.sizes`.

    Attributes:
        head: "linear" (average pooling, one layer) or "concat" (average and maximum, two layers).
        weights: what the body starts from: "imagenet", "scratch", or a file of weights.
        seeds: one fit of every size for each; the first is the one that is exported.

    Raises:
        ValueError: the parts contradict each other.
    """

    name: str
    source: str
    data: PhantomData | DatasetData
    preprocessing: Preprocessing
    architecture: Architecture
    head: HeadKind = "linear"
    weights: str = "imagenet"
    fits: dict[int, FitConfig]
    stack: StackConfig = field(default_factory=StackConfig)
    film_check: FilmCheckConfig = field(default_factory=FilmCheckConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    seeds: tuple[int, ...] = (0,)
    intended_use: str
    limits: tuple[str, ...]

    @property
    def seed(self) -> int:
        """Seed of the networks that are exported."""
        return self.seeds[0]

    def __post_init__(self) -> None:
        if set(self.fits) != set(self.preprocessing.sizes):
            raise ValueError(
                f"the recipe {self.name} fits the sizes {sorted(self.fits)} and prepares "
                f"{list(self.preprocessing.sizes)}: name the same in both"
            )
        for size in self.fits:
            if size < STRIDE or size % STRIDE:
                raise ValueError(
                    f"the side of an image is a multiple of {STRIDE} pixels, not {size} (recipe {self.name})"
                )
        if not self.seeds:
            raise ValueError(f"the recipe {self.name} has no seed: seeds needs at least one")
        if self.architecture == "small" and self.head != "linear":
            raise ValueError(f"the small network has a linear head alone, not {self.head}")
        self._check_places()
        self._check_calibration()

    def _check_calibration(self) -> None:
        wanted, data = self.calibration, self.data
        if not wanted.phantoms:
            return
        if not isinstance(data, PhantomData):
            raise ValueError(
                f"the recipe {self.name} trains on films and calibration.phantoms is {wanted.phantoms}: "
                "phantoms say nothing about films. Set it to 0, and calibrate the bundle on films with "
                "`cxrserve models calibrate`"
            )
        used = range(data.first_seed, data.first_seed + data.training + data.validation + data.test)
        drawn = range(wanted.first_seed, wanted.first_seed + wanted.phantoms)
        if max(used.start, drawn.start) < min(used.stop, drawn.stop):
            raise ValueError(
                f"the recipe {self.name} draws phantoms {used.start} to {used.stop - 1} to train and test, "
                f"and {drawn.start} to {drawn.stop - 1} to calibrate: set calibration.first_seed so that "
                "none is in both"
            )

    def _check_places(self) -> None:
        placed = [size for size, fit in self.fits.items() if fit.uses_places]
        if placed and self.head == "concat":
            raise ValueError(
                f"the recipe {self.name} asks for a loss on cells at {placed}, which the concat head does "
                "not have, since it judges after pooling. Set crop_epochs and location_weight to 0, or head "
                "to linear"
            )
        if placed and not isinstance(self.data, PhantomData):
            raise ValueError(
                f"the recipe {self.name} asks for a loss on cells at {placed}; only phantoms know where "
                "findings lie. Set crop_epochs and location_weight to 0"
            )
