"""Settings of a run in words: what differs from the published recipe, learning rates, starting weights."""

from __future__ import annotations

from training.fit.hardware import Hardware
from training.fit.phases import phases_of
from training.networks.published import SCRATCH
from training.recipes import Recipe, recipe
from training.recipes.resolve import resolve
from training.stamp import differences, plain


def changed_settings(run_recipe: Recipe) -> tuple[str, ...]:
    """The fields in which a recipe differs from the one of its name, each with both values."""
    try:
        own = recipe(run_recipe.name)
    except ValueError:
        return (f"{run_recipe.name} is no recipe of this version",)
    lines: list[str] = []
    sizes = run_recipe.preprocessing.sizes
    if sizes != own.preprocessing.sizes:
        before = ",".join(map(str, own.preprocessing.sizes))
        lines.append(f"preprocessing.sizes ({before} → {','.join(map(str, sizes))})")
        own = resolve(run_recipe.name, [f"preprocessing.sizes={','.join(map(str, sizes))}"])
    return (*lines, *differences(plain(own), run_recipe))


def learning_rates(run_recipe: Recipe) -> list[str]:
    """The peak learning rate of each size on this hardware, and the batch that it was scaled with."""
    processes = Hardware.here().processes
    lines = []
    for size, fit in sorted(run_recipe.fits.items()):
        phase = phases_of(fit)[-1]
        batch = fit.batch * fit.accumulate * processes
        peak = phase.peak(fit.reference_batch, processes)
        scaled = (
            f", scaled from {fit.learning_rate:g} for {fit.reference_batch}" if fit.reference_batch else ""
        )
        lines.append(
            f"{size} px: learning rate {peak:.3g} for {batch} samples a step on {processes} "
            f"{'process' if processes == 1 else 'processes'}{scaled}"
        )
    return lines


def start_in_words(run_recipe: Recipe, start: dict[str, str]) -> str:
    """The weights that the networks started from, for bundle and report."""
    if start["name"] == SCRATCH:
        return "random weights"
    return f"{start['name']}: {start['file']}, SHA-256 {start['sha256']}"
