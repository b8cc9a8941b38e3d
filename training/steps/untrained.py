"""An untrained bundle at full size: for benchmarks, and for tests of what serves."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from cxrserve import __version__
from cxrserve.bundle.contract import Contract, Lineage, Member, write_contract
from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.findings import NAMES
from training.networks.export import export_member
from training.phantom.pyramids import IN_WORDS, phantom_pyramids
from training.precision.bf16 import gated
from training.recipes import Recipe
from training.steps.export import make_contract
from training.steps.networks import new_network
from training.steps.progress import Progress


def write_untrained(recipe: Recipe, out: Path, seed: int, progress: Progress) -> Contract:
    """Write the networks of `recipe`, initialised from `seed`, as a bundle into `out`.

    It votes, with thresholds of one half.
    """
    out.mkdir(parents=True, exist_ok=True)
    members: list[Member] = []
    tolerance: dict[str, float] = {}
    sizes = recipe.preprocessing.sizes
    phantoms = phantom_pyramids(recipe.preprocessing)
    for size in progress.track(sizes, "export", len(sizes)):
        member, differences = export_member(new_network(recipe, size, seed, start=False), size, out)
        images = [pyramid[size] for pyramid in phantoms]
        members.append(gated(member, (out / member.file).read_bytes(), images, None, IN_WORDS))
        for what, difference in differences.items():
            tolerance[what] = max(tolerance.get(what, 0.0), round(difference, 8))
    lineage = Lineage(
        recipe=recipe.name,
        data=f"none: untrained, initialised from seed {seed}",
        code_version=__version__,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    half = OperatingPoint(threshold=0.5, chosen_for="one half: nothing was measured", data="none")
    voting_FS = np.full((len(NAMES), len(sizes)), 1 / len(sizes))
    contract = make_contract(
        recipe, lineage, members, tolerance, voting_FS, dict.fromkeys(NAMES, half), NAMES
    ).model_copy(
        update={
            "name": f"{recipe.name}-untrained",
            "intended_use": "Benchmarks and tests. Untrained: its answers mean nothing.",
        }
    )
    write_contract(out, contract)
    return contract
