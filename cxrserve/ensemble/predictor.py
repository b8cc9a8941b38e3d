"""The Predictor: the whole story on one screen. Set up, look at each scale, stack, explain.

Legend: N images, F findings, S scales (ascending by size), h and w of a heatmap's picture.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import ActualPrecision, Engine, Output
from cxrserve.engines.select import Choice, choose
from cxrserve.ensemble import heatmap, stack
from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.early import Arithmetic
from cxrserve.errors import BundleError
from cxrserve.findings import FINDINGS, NAMES, indices
from cxrserve.settings import Settings

Levels = Mapping[int, NDArray[np.uint8]]
Explain = Literal["none", "positive", "all"] | Collection[int]


def explained(text: str) -> Explain:
    """The findings to make maps of: "none", "positive", "all", or names with commas between them.

    Raises:
        ValueError: a name that is none of the 14; says which, and lists them.
    """
    keywords: dict[str, Explain] = {"none": "none", "positive": "positive", "all": "all"}
    return keywords[text] if text in keywords else indices(text.split(","))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What the ensemble says of one radiograph.

    Attributes:
        logits_FS: float64 [14, S], what each scale says.
        weights_FS: float64 [14, S], how much each scale counts; rows sum to 1, or are zeros where no member
            knows the finding.
        probabilities_F: float64 [14], NaN where no member knows the finding.
        thresholds_F: float64 [14], NaN likewise.
        maps: by finding index, float32 [G, G] on the finest grid, raw scale, for those asked for.
        scale_maps: by finding index and size, float32 [S/32, S/32]: what each scale brings to the finding's
            map, evidence weight × ReLU(raw map); see `heatmap.scale_maps`. Empty unless asked for.
        timing_ms: "engine_<size>", "stack", "heatmaps"; where the engines are shared, "waiting" for them.
    """

    sizes: tuple[int, ...]
    logits_FS: NDArray[np.float64]
    weights_FS: NDArray[np.float64]
    probabilities_F: NDArray[np.float64]
    thresholds_F: NDArray[np.float64]
    maps: dict[int, heatmap.Map]
    timing_ms: dict[str, float]
    scale_maps: dict[int, dict[int, heatmap.Map]] = field(default_factory=dict)

    @property
    def positive_F(self) -> NDArray[np.bool_]:
        """True where the probability is at or above the finding's operating point; never where it is NaN."""
        return self.probabilities_F >= self.thresholds_F


class Predictor:
    """A bundle on engines.

    `predict` runs them itself and is not thread-safe. Where requests share the engines, a `Batcher` owns
    them, and `conclude`, which is thread-safe, makes the prediction of what they said.

    Attributes:
        engines: by size; each is called by one owner at a time.
        owned: the engines of each owner, by size: one for each device, the first `engines`; then their twins,
            where a device takes several owners.
        weights_FS: float64 [14, S], the stack.
        thresholds_F: float64 [14], the operating points.
    """

    def __init__(self, bundle: Bundle, choice: Choice, *, threads: int, streams: int = 1) -> None:
        contract = bundle.contract
        # The engines hold the weights now; the file's bytes are not kept beside them.
        self.bundle: Final = replace(bundle, models={})
        self.choice: Final = choice
        self.sizes: Final = contract.preprocessing.sizes
        self.weights_FS: Final = np.array(contract.stack, np.float64)
        points = contract.operating_points
        self.thresholds_F: Final = np.array(
            [points[name].threshold if name in points else np.nan for name in NAMES], np.float64
        )
        self._known_F: Final = ~np.isin(NAMES, contract.unavailable)
        precisions = {each.size: choice.precision_of(each) for each in contract.members}
        devices = [
            {
                size: choice.build(
                    model,
                    size=size,
                    threads=threads,
                    streams=streams,
                    precision=precisions[size],
                    variant=bundle.variants[size].precision if size in bundle.variants else None,
                    device=device,
                )
                for size, model in bundle.models.items()
            }
            for device in range(choice.devices)
        ]
        self.engines: Final[dict[int, Engine]] = devices[0]
        twins = [twin for engines in devices for _ in range(1, streams) if (twin := _twin(engines))]
        self.owned: Final[tuple[dict[int, Engine], ...]] = (*devices, *twins)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The bundle of `settings` on the engine that would serve it here.

        Raises:
            BundleError, EngineError: see `Choice.load` and `choose`.
        """
        choice = choose(settings.engine, settings.precision)
        return cls(choice.load(settings.bundle), choice, threads=settings.threads)

    @property
    def precisions(self) -> dict[int, ActualPrecision]:
        """The arithmetic that each size is really computed in."""
        return {size: engine.precision for size, engine in self.engines.items()}

    @property
    def precision(self) -> str:
        """That arithmetic in words: one for all sizes, or each that is used, from coarse to fine."""
        return ", ".join(dict.fromkeys(self.precisions[size] for size in self.sizes))

    @property
    def arithmetic(self) -> Arithmetic:
        """What computes the logits: those of another engine or precision are other logits."""
        return Arithmetic(engine=self.choice.name, precisions=dict(self.precisions))

    def warm_up(self) -> dict[int, float]:
        """Run every engine once, so that the first request pays for nothing but itself.

        Returns:
            seconds each size took; a little more than later runs will.
        """
        dark = {size: np.zeros((size, size), np.uint8) for size in self.sizes}
        timing_ms = self.predict(dark, explain="all").timing_ms
        for twins in self.owned[1:]:
            for size, engine in twins.items():
                engine.run(dark[size][None, None])
        return {size: timing_ms[f"engine_{size}"] / 1000 for size in self.sizes}

    def predict(
        self, levels: Levels, *, explain: Explain = "positive", explain_scales: bool = False
    ) -> Prediction:
        """Look at one radiograph at every scale, stack the opinions, explain those asked for.

        Args:
            levels: by size, uint8 [S, S], from `imaging.pyramid.build_pyramid`.
            explain: the findings to make maps of.
            explain_scales: make `scale_maps` of them, too.

        Raises:
            BundleError: a member answered NaN or infinity.
        """
        outputs: dict[int, Output] = {}
        for size in self.sizes:
            started = time.perf_counter()
            output = self.engines[size].run(levels[size][None, None])
            outputs[size] = replace(output, seconds=time.perf_counter() - started)
        return self.conclude(outputs, explain=explain, explain_scales=explain_scales)

    def conclude(
        self, outputs: Mapping[int, Output], *, explain: Explain = "positive", explain_scales: bool = False
    ) -> Prediction:
        """What the ensemble says, from what each member said of one image (N = 1). Thread-safe.

        Raises:
            BundleError: a member answered NaN or infinity.
        """
        timing_ms = {f"engine_{size}": outputs[size].seconds * 1000 for size in self.sizes}
        with timed(timing_ms, "stack"):
            logits_FS = np.stack([outputs[size].logits_NF[0] for size in self.sizes], axis=-1).astype(
                np.float64
            )
            if not np.isfinite(logits_FS).all():
                raise BundleError("a member answered with a score that is not a number: nothing can be said")
            stacked_F = stack.stacked(logits_FS[None], self.weights_FS)[0]
            probabilities_F = np.where(self._known_F, stacked_F, np.nan)
        with timed(timing_ms, "heatmaps"):
            wanted = self._wanted(explain, probabilities_F)
            maps, scale_maps = self._maps(outputs, logits_FS, wanted, explain_scales)
        return Prediction(
            sizes=self.sizes,
            logits_FS=logits_FS,
            weights_FS=self.weights_FS,
            probabilities_F=probabilities_F,
            thresholds_F=self.thresholds_F,
            maps=maps,
            scale_maps=scale_maps,
            timing_ms=timing_ms,
        )

    def _wanted(self, explain: Explain, probabilities_F: NDArray[np.float64]) -> Collection[int]:
        if explain == "none":
            return ()
        if explain == "positive":
            return [int(finding) for finding in np.flatnonzero(probabilities_F >= self.thresholds_F)]
        asked = range(len(FINDINGS)) if explain == "all" else explain
        return [finding for finding in asked if self._known_F[finding]]

    def _maps(
        self,
        outputs: Mapping[int, Output],
        logits_FS: NDArray[np.float64],
        wanted: Collection[int],
        explain_scales: bool,
    ) -> tuple[dict[int, heatmap.Map], dict[int, dict[int, heatmap.Map]]]:
        evidence_FS = stack.evidence_weights(logits_FS, self.weights_FS)
        maps, scale_maps = {}, {}
        for finding in wanted:
            grids = {size: outputs[size].maps_NFhw[0, finding] for size in self.sizes}
            weights = dict(zip(self.sizes, evidence_FS[finding].tolist(), strict=True))
            maps[finding] = heatmap.ensemble_map(grids, weights)
            if explain_scales:
                scale_maps[finding] = heatmap.scale_maps(grids, weights)
        return maps, scale_maps


def _twin(engines: Mapping[int, Engine]) -> dict[int, Engine]:
    """Engines for another owner of the same device; empty where it takes one alone."""
    twins = {size: twin for size, engine in engines.items() if (twin := engine.twin()) is not None}
    return twins if twins.keys() == engines.keys() else {}


@contextmanager
def timed(timing_ms: dict[str, float], stage: str) -> Iterator[None]:
    """Write the wall time of the block into `timing_ms[stage]`, in milliseconds."""
    started = time.perf_counter()
    yield
    timing_ms[stage] = (time.perf_counter() - started) * 1000
