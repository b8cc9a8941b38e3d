"""Calibration of the head between two phases: its logits get a sensible start."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from training.datasets.samples import Samples
from training.networks.base import MapNetwork

CALIBRATED_ON: Final = 128
LOGIT_SPREAD: Final = 1.5


@torch.no_grad()
def calibrate_head(
    network: MapNetwork, samples: Samples, size: int, batch: int, generator: np.random.Generator
) -> None:
    """Set the head's gain and bias so that the logits of `CALIBRATED_ON` images start sensible.

    Each finding's mean evidence is brought to a spread of `LOGIT_SPREAD` about the log odds of its
    prevalence. Without it the image loss begins with logits of tens, and undoes what the cells have learnt.
    """
    device = network.head.bias.device
    chosen = np.sort(generator.permutation(len(samples))[:CALIBRATED_ON])
    means = []
    for start in range(0, len(chosen), batch):
        images = torch.from_numpy(np.array(samples.level(size)[chosen[start : start + batch]]))[:, None]
        with torch.autocast(device.type, torch.bfloat16):
            evidence = network.evidence(images.to(device))
        means.append(evidence.float().mean((2, 3)))
    mean_NF = torch.cat(means)
    prevalence_F = torch.from_numpy(np.nanmean(samples.labels_NF, 0)).to(device).clamp(0.01, 0.99)
    gain_F = LOGIT_SPREAD / mean_NF.std(0).clamp(min=1e-6)
    network.head.log_gain.copy_(gain_F.log())
    network.head.bias.copy_(prevalence_F.logit() - gain_F * mean_NF.mean(0))
