"""The program that `test_ddp` starts with torchrun: one fit, shared by all processes.

torchrun --nproc-per-node 2 tests/training/ddp_fit.py FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from tests.training.fit_samples import squares
from training.fit import FitResult, Hardware, fit_member
from training.networks.base import SmallNetwork
from training.recipes import FitConfig, demo

SIZE = 64
# Two images a batch, six batches a step: shared by two processes, each accumulates three.
CONFIG = dataclasses.replace(
    demo().fits[256],
    epochs=2,
    batch=2,
    accumulate=6,
    learning_rate=1e-3,
    reference_batch=12,
    crop_epochs=0,
    best="loss",
    validate_every=1,
    precision="32",
)


def fit(folder: Path, config: FitConfig) -> FitResult:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hardware = dataclasses.replace(Hardware.here(), accelerator="cpu")
    samples, network = squares(25, SIZE), SmallNetwork(SIZE)
    return fit_member(
        network, samples, squares(7, SIZE), SIZE, config, folder=folder, seed=1, hardware=hardware
    )


if __name__ == "__main__":
    out = Path(sys.argv[1])
    sys.stdout.write(f"{Hardware.here()}\n")
    config = dataclasses.replace(CONFIG, accumulate=3)
    fit(out / "images", config)
    # Crops leave the head's bias and gain without gradients, which DDP must know.
    fit(out / "crops", dataclasses.replace(config, crop_epochs=1, crop_batch=4, crop_pixels=64, epochs=1))
