"""Parameter groups, optimisers and learning-rate schedules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from training.networks.base import MapNetwork
from training.recipes.fitting import FitConfig

_OPTIMISERS: Final[dict[str, type[Adam]]] = {"adam": Adam, "adamw": AdamW}


def layer_groups(network: MapNetwork, count: int) -> list[list[nn.Module]]:
    """The network's blocks in `count` groups, from the input to the head; one group is everything.

    Of DenseNet121 in three, the first ends behind the second dense block, as in fastai.

    Raises:
        ValueError: the body has fewer blocks than that.
    """
    if count == 1:
        return [[network.body, network.head]]
    blocks = _blocks(network.body)
    if len(blocks) < count - 1:
        raise ValueError(
            f"layer_rates has {count} entries; the body of {network.architecture} has {len(blocks)} blocks"
        )
    cuts = [round(len(blocks) * part / (count - 1)) for part in range(count)]
    return [*(blocks[start:end] for start, end in itertools.pairwise(cuts)), [network.head]]


def _blocks(body: nn.Module) -> list[nn.Module]:
    """Children that learn; an only one stands for its own children."""
    blocks = [child for child in body.children() if next(child.parameters(), None) is not None]
    return _blocks(blocks[0]) if len(blocks) == 1 else blocks


def make_optimiser(network: MapNetwork, config: FitConfig, peak: float) -> Optimizer:
    """The configured optimiser over what learns, with the rate of each group of layers."""
    groups: list[dict[str, Any]] = []
    for modules, share in zip(
        layer_groups(network, len(config.layer_rates)), config.layer_rates, strict=True
    ):
        learning = [
            parameter for module in modules for parameter in module.parameters() if parameter.requires_grad
        ]
        for decays in (True, False):
            chosen = [weight for weight in learning if (config.decay_norms or weight.ndim > 1) == decays]
            decay = config.weight_decay if decays else 0.0
            if chosen:
                groups.append({"params": chosen, "lr": peak * share, "weight_decay": decay})
    return _OPTIMISERS[config.optimiser](groups, lr=peak, betas=config.betas, eps=config.epsilon)


def one_cycle(optimiser: Optimizer, config: FitConfig, steps: int, *, frozen: bool = False) -> OneCycleLR:
    """One cycle over `steps` steps, each group of layers up to the rate it was made with (Smith 2018)."""
    share = config.frozen_rise if frozen else config.rise
    # torch divides by the length of the rise, which is nothing where its share is exactly one step.
    rise = share if share * steps != 1 else share * (1 + 1e-9)
    return OneCycleLR(
        optimiser,
        [group["lr"] for group in optimiser.param_groups],
        max(1, steps),
        pct_start=rise,
        div_factor=1 / config.start,
        cycle_momentum=config.cycle_momentum,
    )


def freeze_body(network: MapNetwork, frozen: bool) -> None:
    """Freeze the body, or unfreeze it. Its batch normalisations always do, as in fastai."""
    for module in network.body.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(not frozen or isinstance(module, _BatchNorm))


@dataclass(kw_only=True, slots=True)
class Plateau:
    """Haque et al. 2021: × `factor` after `patience` epochs without a lower loss, stop after `stop_after`.

    Attributes:
        lowest: the lowest loss so far.
        since_lowest, since_cut: epochs without a lower one, since that one and since the rate was cut.
    """

    lowest: float = math.inf
    since_lowest: int = 0
    since_cut: int = 0

    def update(self, loss: float, config: FitConfig) -> float:
        """Take an epoch's validation loss; returns what to multiply the rate by."""
        if loss < self.lowest:
            self.lowest, self.since_lowest, self.since_cut = loss, 0, 0
            return 1.0
        self.since_lowest += 1
        self.since_cut += 1
        if self.since_cut < config.patience:
            return 1.0
        self.since_cut = 0
        return config.factor

    def stops(self, config: FitConfig) -> bool:
        return self.since_lowest >= config.stop_after


def scale_rates(optimisers: Sequence[Optimizer], factor: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] *= factor
