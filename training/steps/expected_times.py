"""Times that a run is expected to take on this machine, measured on its smallest network."""

from __future__ import annotations

import time
from typing import Final

import torch

from training.fit.hardware import Hardware
from training.recipes import Recipe
from training.steps.networks import new_network
from training.steps.run import Run

# A pass forward and backward costs about three passes forward.
_OF_FITTING: Final = 3
_SIDE: Final = 256
_ROUNDS: Final = 3


def expected_times(run: Run, training: int, test: int) -> tuple[str, ...]:
    """The time of every fit and of the evaluation, in words, for a fold's training and test images.

    Estimates: one network runs forward, untrained, at no more than 256 px, and time grows with the pixels. A
    fit takes at most this long, as it may stop early; decoding and reading are not in it.
    """
    recipe, hardware = run.recipe, Hardware.here()
    seconds = seconds_per_pixel(recipe)
    device = "GPU" if hardware.accelerator == "cuda" else f"{torch.get_num_threads()} CPU threads"
    trials = len(run.trials)
    lines = []
    for size, fit in sorted(recipe.fits.items()):
        epochs = fit.epochs + fit.frozen_epochs
        spent = _OF_FITTING * seconds * size**2 * training * epochs / hardware.processes
        lines.append(
            f"fit {size}: at most {_words(spent)} for {epochs} epochs of {training:,} images, "
            f"{trials} {'time' if trials == 1 else 'times'}"
        )
    pixels = sum(size**2 for size in recipe.preprocessing.sizes)
    lines.append(
        f"evaluate: about {_words(seconds * pixels * test * trials)} for {test * trials:,.0f} images"
    )
    return (*lines, f"times are estimates on {device} from one network at {min(_SIDE, *recipe.fits)} px")


def seconds_per_pixel(recipe: Recipe) -> float:
    """Seconds of a forward pass for one pixel of an image, on the hardware that fits."""
    size = min(recipe.fits)
    side = min(_SIDE, size)
    device = "cuda" if Hardware.here().accelerator == "cuda" else "cpu"
    network = new_network(recipe, size, recipe.seed, start=False).eval().to(device)
    image = torch.zeros(1, 1, side, side, dtype=torch.uint8, device=device)
    best = float("inf")
    with torch.inference_mode():
        network(image)
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            network(image)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return best / side**2


def _words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.0f} h" if seconds < 72 * 3600 else f"{seconds / 86400:,.0f} days"
