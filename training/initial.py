"""An untrained bundle at full size: for benchmarks, and for tests of what serves."""

from __future__ import annotations

import datetime
from pathlib import Path

import torch

from cxrserve import __version__
from cxrserve.ensemble.bundle import Contract, Lineage, Member, write_contract
from training.build import NETWORKS, Progress, first_contract
from training.export import export_member
from training.recipes import Recipe


def write_untrained(recipe: Recipe, out: Path, seed: int, progress: Progress) -> Contract:
    """Write the networks of `recipe`, initialised from `seed`, as a bundle into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    members: list[Member] = []
    tolerance: dict[str, float] = {}
    sizes = recipe.preprocessing.sizes
    for size in progress.track(sizes, "export", len(sizes)):
        torch.manual_seed(seed)
        member, differences = export_member(NETWORKS[recipe.architecture](size), size, out)
        members.append(member)
        for what, difference in differences.items():
            tolerance[what] = max(tolerance.get(what, 0.0), round(difference, 8))
    lineage = Lineage(
        recipe=recipe.name,
        data=f"none: untrained, initialised from seed {seed}",
        code_version=__version__,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    contract = first_contract(recipe, lineage, members, tolerance).model_copy(
        update={
            "name": f"{recipe.name}-untrained",
            "intended_use": "Benchmarks and tests. Untrained: its answers mean nothing.",
        }
    )
    write_contract(out, contract)
    return contract
