"""Configuration of a fit: everything besides the network and its images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes of training images; each image of a batch draws its own.

    What leaves at an edge is lost, except by `shift_cells`.

    Attributes:
        flip: left and right swapped in half of the images.
        rotation_degrees: uniform in ± this.
        zoom: enlarged by a factor uniform in 1 to this.
        warp: perspective, as fastai's `Warp` has it: corners move by a share of the half side in ± this.
        shift: moved by a share of the side in ± this, in both directions.
        brightness, contrast: as fastai's `max_lighting` has them, in the log odds of grey, so that black
            stays black and white white: brightness adds the log odds of 0.5 ± half of this, contrast
            multiplies by a factor between 1 − this and 1/(1 − this).
        share: chance of each of these (rotation, zoom, warp, shift, brightness, contrast), drawn for each by
            itself, as fastai's `p`.
        border: what comes in at an edge: "black", or the image's "reflection", fastai's default.
        shift_cells: moved by up to so many whole cells of the grid of places (1/64 of the side); what leaves
            at one edge comes back at the other, and places move along.

    Raises:
        ValueError: a value outside its range.
    """

    flip: bool = False
    rotation_degrees: float = 0.0
    zoom: float = 1.0
    warp: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    share: float = 1.0
    border: Literal["black", "reflection"] = "black"
    shift_cells: int = 0

    def __post_init__(self) -> None:
        limits = {
            "rotation_degrees": (0.0, 180.0),
            "zoom": (1.0, 4.0),
            "warp": (0.0, 0.5),
            "shift": (0.0, 1.0),
            "brightness": (0.0, 0.9),
            "contrast": (0.0, 0.9),
            "share": (0.0, 1.0),
            "shift_cells": (0, 63),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"augmentation {name} is {value}; expected {low:g} to {high:g}")

    @property
    def geometric(self) -> bool:
        """True if images are resampled between their pixels."""
        return bool(self.rotation_degrees or self.zoom > 1 or self.warp or self.shift)

    @property
    def lit(self) -> bool:
        return bool(self.brightness or self.contrast)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitConfig:
    """Configuration of the fit of one size.

    Three phases, each with its own optimiser; the first two are left out where they have no epochs: crops (of
    data that knows where findings lie), the head alone, the whole network on whole images.

    Attributes:
        epochs, batch, accumulate: of the last phase. One step of the optimiser sees `batch` images (or
            studies) × `accumulate` × processes, its effective batch; what does not fill one waits for another
            epoch.
        learning_rate: its peak, for an effective batch of `reference_batch`: another batch scales it
            linearly. Without a reference it is taken as it stands.
        layer_rates: rates of groups of layers as shares of the learning rate, input first, head last. The
            body is cut into as many equal parts as are needed.
        frozen_epochs, frozen_learning_rate: epochs before, of the head alone. As in fastai, the
            body's batch normalisations learn along.
        optimiser: "adam" (weight decay, if any, as a part of the gradient) or "adamw" (decoupled).
        decay_norms: whether weight decay holds for biases and normalisations, too; fastai's does not.
        schedule: "one-cycle" over all steps, rising for the share `rise` of them, or "plateau": × `factor`
            after `patience` epochs without a lower validation loss, stop after `stop_after` such epochs.
        frozen_rise: the same for the epochs with a frozen body.
        start: share of the peak that one-cycle starts from.
        epsilon: Adam's.
        cycle_momentum: one-cycle moves Adam's first beta from 0.95 to 0.85 and back, while the rate rises and
            falls.
        best: which epoch's weights are kept: that of the lowest validation "loss", of the highest validation
            "auc", or the "last".
        validate_every: epochs from one validation to the next.
        precision: "auto" is bf16 where the device computes it, else fp16 on a GPU and 32 on a CPU.
        memory_efficient: recompute dense blocks instead of keeping them; see
            `training.networks.architectures`.
        synchronise_norms: batch normalisations see the batch of all processes (GPU only). Otherwise each
            process normalises by its own images, and the running statistics kept are those of the first.
        deterministic: on a GPU, only operations that give the same every time: slower. A CPU always does.
        clip_norm: largest norm of the gradient; 0 leaves it alone.
        location_weight: weight of the loss on each cell of the maps, for data that knows where findings are.
        crop_epochs, crop_batch, crop_pixels, crop_learning_rate: epochs before the others, of one square crop
            an image, most of them about a finding, with the loss on cells alone.

    Raises:
        ValueError: a value outside its range, or values that contradict each other.
    """

    epochs: int
    batch: int
    accumulate: int = 1
    learning_rate: float
    reference_batch: int | None = None
    layer_rates: tuple[float, ...] = (1.0,)
    frozen_epochs: int = 0
    frozen_learning_rate: float = 0.0
    optimiser: Literal["adam", "adamw"]
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decay_norms: bool = True
    schedule: Literal["one-cycle", "plateau"]
    rise: float = 0.25
    frozen_rise: float = 0.25
    start: float = 0.04
    epsilon: float = 1e-8
    cycle_momentum: bool = True
    factor: float = 0.5
    patience: int = 3
    stop_after: int = 10
    best: Literal["loss", "auc", "last"] = "loss"
    validate_every: int = 1
    precision: Literal["auto", "bf16", "fp16", "32"] = "auto"
    channels_last: bool = True
    memory_efficient: bool = False
    synchronise_norms: bool = False
    deterministic: bool = False
    clip_norm: float = 0.0
    augment: Augmentation = field(default_factory=Augmentation)
    location_weight: float = 0.0
    crop_epochs: int = 0
    crop_batch: int = 16
    crop_pixels: int = 512
    crop_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch",
            "accumulate",
            "validate_every",
            "patience",
            "stop_after",
            "crop_batch",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; expected more than 0")
        if not self.layer_rates or min(self.layer_rates) <= 0:
            raise ValueError(f"layer_rates is {self.layer_rates}; expected shares above 0, the head's last")
        for phase in ("frozen", "crop"):
            epochs, rate = getattr(self, f"{phase}_epochs"), getattr(self, f"{phase}_learning_rate")
            if epochs and rate <= 0:
                raise ValueError(f"{phase}_epochs is {epochs} and {phase}_learning_rate {rate}: give a rate")
        if (self.schedule == "plateau" or self.best != "last") and self.validate_every != 1:
            raise ValueError(
                f"schedule {self.schedule} with best {self.best} asks for validation after every epoch, not "
                f"every {self.validate_every}: set validate_every to 1, or schedule one-cycle and best last"
            )
        if self.uses_places and self.augment.geometric:
            raise ValueError(
                "the loss on cells goes with flip and shift_cells, which move places along; set "
                "rotation_degrees, warp and shift to 0 and zoom to 1, or crop_epochs and location_weight to 0"
            )

    @property
    def uses_places(self) -> bool:
        """True if the images need locations of their findings."""
        return bool(self.crop_epochs or self.location_weight)
