"""Randomness as a function of where a fit is: a resumed fit, or one on more processes, draws the same."""

from __future__ import annotations

import numpy as np
import torch


def numpy_generator(*where: int) -> np.random.Generator:
    """A generator for the place `where`: seed, size, phase, epoch, batch, as far as it goes."""
    return np.random.default_rng(where)


def torch_generator(*where: int) -> torch.Generator:
    """The same in torch, on the CPU."""
    return torch.Generator().manual_seed(_one_number(where))


def seed_global(*where: int) -> None:
    """Seed what dropout and stochastic depth draw from.

    Not `torch.manual_seed`: before CUDA is in use that keeps each call, and where it came from.
    """
    number = _one_number(where)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)


def _one_number(where: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(where).generate_state(1, np.uint64)[0] >> 1)
