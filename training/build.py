"""From a recipe to a bundle: draw, fit, export, stack, choose operating points, measure. One screen.

A step that is done is not done again: caches and fitted weights stay in the work folder, each under the
configuration it was made with.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np
import torch

from cxrserve import __version__
from cxrserve.ensemble.bundle import Contract, Lineage, Member, Metrics, OperatingPoint, write_contract
from cxrserve.ensemble.stack import stacked
from cxrserve.findings import NAMES
from training import evaluate
from training.architectures import ARCHITECTURES
from training.cache import PyramidCache, cache_phantoms, open_cache
from training.card import write_card
from training.export import export_member
from training.fit.plain import Epoch, fit
from training.networks import MapNetwork, SmallNetwork
from training.recipes import PhantomData, Recipe
from training.stacking import StackFit, fit_stack

NETWORKS: Final[dict[str, Callable[[int], MapNetwork]]] = {"small": SmallNetwork, **ARCHITECTURES}
PARTS: Final = ("training", "validation", "test")
Item = TypeVar("Item")


class Progress(Protocol):
    """Who is told how far the run is."""

    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Pass `steps` on, showing each as one of `total`."""
        ...

    def say(self, line: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a run came to. `seconds` holds the wall time of each step."""

    contract: Contract
    stack: StackFit
    heatmaps: evaluate.HeatmapFacts
    table: evaluate.AucTable
    seconds: dict[str, float]


def build(recipe: Recipe, out: Path, work: Path, progress: Progress, workers: int) -> Result:
    """Run `recipe` and write its bundle into `out`; intermediate results stay in `work`.

    Raises:
        ValueError: the recipe needs data that is not phantoms, or an engine disagrees with torch.
    """
    clock = _Clock()
    caches = draw(recipe, work, progress, workers)
    clock.lap("phantoms")
    networks = fit_all(recipe, work, progress, workers)
    clock.lap("fits")
    contract = export(recipe, networks, caches, out)
    clock.lap("export and parity")
    contract, stack = stack_and_threshold(recipe, contract, caches["validation"], out, progress)
    contract, heatmaps = measure(contract, caches, out, progress)
    clock.lap("stack, operating points, test")
    assert contract.metrics is not None
    result = Result(
        contract=contract, stack=stack, heatmaps=heatmaps, table=contract.metrics.auc, seconds=clock.seconds
    )
    write_card(out, recipe, result.contract, result.heatmaps.pointing)
    return result


def draw(recipe: Recipe, work: Path, progress: Progress, workers: int) -> dict[str, PyramidCache]:
    """The phantoms of training, validation and test, drawn and cached."""
    data = _phantoms(recipe)
    seed, caches = data.first_seed, {}
    for part in PARTS:
        count: int = getattr(data, part)
        drawing = cache_phantoms(work / part, seed, count, recipe.preprocessing, workers)
        for _ in progress.track(drawing, f"draw {part} phantoms", count):
            pass
        caches[part] = open_cache(work / part, recipe.preprocessing)
        seed += count
    return caches


def _phantoms(recipe: Recipe) -> PhantomData:
    if not isinstance(recipe.data, PhantomData):
        raise ValueError(
            f"the recipe {recipe.name} trains on {recipe.data.source}, which this version cannot read: "
            "it trains on phantoms only (--recipe demo). `cxrserve models init` makes the untrained networks."
        )
    return recipe.data


def fit_all(recipe: Recipe, work: Path, progress: Progress, workers: int) -> dict[int, MapNetwork]:
    """The fitted networks by size, several fitted at once, the longest first.

    One process with one thread for each core: two threads in one fit wait for each other at every layer,
    and on a machine that does other things too that wait is most of the time.
    """
    missing = [
        size for size in reversed(recipe.preprocessing.sizes) if not _fit_file(recipe, size, work).exists()
    ]
    if missing:
        threads = max(1, workers // len(missing))
        # spawn: a forked child of a process that has run torch may hang in its thread pool.
        with ProcessPoolExecutor(min(workers, len(missing)), get_context("spawn")) as pool:
            jobs = {pool.submit(fit_one, recipe, size, work, threads): size for size in missing}
            for job in progress.track(as_completed(jobs), f"fit {sorted(missing)}", len(jobs)):
                last = job.result()
                progress.say(
                    f"{jobs[job]}: image loss {last.image_loss:.4f}, location loss {last.location_loss:.4f}, "
                    f"{last.seconds:.0f} s"
                )
    networks = {size: NETWORKS[recipe.architecture](size) for size in recipe.preprocessing.sizes}
    for size, network in networks.items():
        network.load_state_dict(torch.load(_fit_file(recipe, size, work), weights_only=True))
    return networks


def fit_one(recipe: Recipe, size: int, work: Path, threads: int) -> Epoch:
    """Fit the network of `size`, write its weights and the losses of every epoch into `work`."""
    torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    network = NETWORKS[recipe.architecture](size)
    cache = open_cache(work / "training", recipe.preprocessing)
    done = _fit_file(recipe, size, work)
    with done.with_suffix(".csv").open("w", encoding="utf-8") as log:
        log.write("epoch,image_loss,location_loss,seconds\n")
        for epoch in fit(network, cache, size, recipe.fits[size], recipe.seed):
            image_loss = "" if epoch.image_loss is None else f"{epoch.image_loss:.5f}"
            log.write(f"{epoch.number},{image_loss},{epoch.location_loss:.5f},{epoch.seconds:.1f}\n")
            log.flush()
    torch.save(network.state_dict(), done)
    return epoch


def _fit_file(recipe: Recipe, size: int, work: Path) -> Path:
    """Where the weights of `size` lie; the name changes with everything that the fit depends on."""
    data = (work / "training" / "cache.json").read_text(encoding="utf-8")
    parts = (data, recipe.architecture, recipe.seed, recipe.fits[size], size)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
    return work / f"fit_{size}_{key}.pt"


def export(
    recipe: Recipe, networks: dict[int, MapNetwork], caches: dict[str, PyramidCache], out: Path
) -> Contract:
    """Write the members into `out`, with a first contract: voting, thresholds of one half."""
    out.mkdir(parents=True, exist_ok=True)
    members: list[Member] = []
    tolerance: dict[str, float] = {}
    for size, network in networks.items():
        member, differences = export_member(network, size, out)
        members.append(member)
        for what, difference in differences.items():
            tolerance[what] = max(tolerance.get(what, 0.0), round(difference, 8))
    data = _phantoms(recipe)
    lineage = Lineage(
        recipe=recipe.name,
        data=f"{data.training} phantoms, seeds from {data.first_seed}; no radiograph of a person",
        data_sha256=_sha256({part: cache.labels_NF.tolist() for part, cache in caches.items()}),
        split_sha256=_sha256(dataclasses.asdict(data)),
        code_version=__version__,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    contract = first_contract(recipe, lineage, members, tolerance)
    write_contract(out, contract)
    return contract


def first_contract(
    recipe: Recipe, lineage: Lineage, members: list[Member], tolerance: dict[str, float]
) -> Contract:
    """A contract before anything was measured: equal weights, thresholds of one half."""
    count = len(members)
    half = OperatingPoint(threshold=0.5, chosen_for="one half: nothing was measured", data="none")
    return Contract(
        name=recipe.name,
        version=__version__,
        lineage=lineage,
        findings=NAMES,
        preprocessing=recipe.preprocessing,
        members=tuple(members),
        stack=((1 / count,) * count,) * len(NAMES),
        operating_points=dict.fromkeys(NAMES, half),
        heatmap_scale=1.0,
        tolerance=tolerance,
        intended_use=recipe.intended_use,
        limits=recipe.limits,
    )


def stack_and_threshold(
    recipe: Recipe, contract: Contract, validation: PyramidCache, out: Path, progress: Progress
) -> tuple[Contract, StackFit]:
    """Fit the stack and choose operating points, on what the served path says of the validation images."""
    logits_NFS = _score(out, validation, progress, "score validation")
    stack = fit_stack(logits_NFS, validation.labels_NF, recipe.stack)
    if not stack.converged:
        progress.say(f"the stack has not converged: a weight still moved by {stack.last_move:.3f}")
    probabilities_NF = stacked(logits_NFS, stack.weights_FS)
    where = f"{len(validation)} validation phantoms"
    contract = contract.model_copy(
        update={
            "stack": tuple(tuple(row) for row in stack.weights_FS.tolist()),
            "operating_points": evaluate.operating_points(probabilities_NF, validation.labels_NF, where),
        }
    )
    write_contract(out, contract)
    return contract, stack


def measure(
    contract: Contract, caches: dict[str, PyramidCache], out: Path, progress: Progress
) -> tuple[Contract, evaluate.HeatmapFacts]:
    """The scale of the heatmaps, on validation images; AUC and pointing of heatmaps, on test images."""
    predictor = evaluate.open_predictor(out)
    scale = evaluate.heatmap_facts(predictor, caches["validation"]).scale
    test = caches["test"]
    logits_NFS = _score(out, test, progress, "score test")
    weights_FS = np.array(contract.stack)
    table = evaluate.auc_table(logits_NFS, weights_FS, test.labels_NF, contract.preprocessing.sizes)
    precision = f"{predictor.choice.name} in {predictor.choice.precision}"
    metrics = Metrics(data=f"{len(test)} held-out phantoms, {precision}", images=len(test), auc=table)
    contract = contract.model_copy(update={"metrics": metrics, "heatmap_scale": float(f"{scale:.4g}")})
    write_contract(out, contract)
    return contract, evaluate.heatmap_facts(predictor, test)


def _score(out: Path, cache: PyramidCache, progress: Progress, what: str) -> evaluate.Floats:
    predictor = evaluate.open_predictor(out)
    return np.stack(list(progress.track(evaluate.score(predictor, cache), what, len(cache))))


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class _Clock:
    """Wall time since the last lap, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, what: str) -> None:
        now = time.monotonic()
        self.seconds[what], self._last = now - self._last, now
