"""The Predictor: runs every scale of the ensemble, stacks the outputs, computes the heatmaps.

Legend: N images, F findings, S scales (ascending by size), h and w of a heatmap's picture.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Bundle, Member
from cxrserve.bundle.signature import check_source
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.engines.base import ActualPrecision, Engine, Output
from cxrserve.engines.select import Choice, choose
from cxrserve.ensemble import heatmap, stack
from cxrserve.ensemble.calibration import calibrated, score_thresholds, thresholds
from cxrserve.errors import BundleError
from cxrserve.findings import FINDINGS, NAMES, indices
from cxrserve.settings import Settings

Levels = Mapping[int, NDArray[np.uint8]]
Explain = Literal["none", "positive", "all"] | Collection[int]


def explained(text: str) -> Explain:
    """Parse the findings to compute heatmaps of: "none", "positive", "all", or names separated by commas.

    Raises:
        ValueError: a name that is none of the 14; says which, and lists them.
    """
    keywords: dict[str, Explain] = {"none": "none", "positive": "positive", "all": "all"}
    return keywords[text] if text in keywords else indices(text.split(","))


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The prediction of the ensemble for one radiograph.

    Attributes:
        logits_FS: float64 [14, S], the logit of each scale as it was stacked: after its member's calibration.
        weights_FS: float64 [14, S], the weight of each scale; rows sum to 1, or are zeros if no member
            supports the finding.
        supported_FS: bool [14, S], true if the scale's member supports the finding; otherwise the logit has
            no meaning.
        scores_F: float64 [14], the stack: Σ weight × σ(logit); NaN if no member supports the finding.
        probabilities_F: float64 [14], the calibrated scores, NaN likewise.
        thresholds_F: float64 [14], operating points of the probabilities, NaN likewise.
        maps: by finding index, float32 [G, G] on the finest grid, raw scale, for those asked for.
        scale_maps: by finding index and size, float32 [S/32, S/32]: share of each scale in the finding's
            map, evidence weight × ReLU(raw map); see `heatmap.scale_maps`. Empty unless asked for.
        timing_ms: "engine_<size>", "stack", "heatmaps"; where the engines are shared, "waiting" for them.
    """

    sizes: tuple[int, ...]
    logits_FS: NDArray[np.float64]
    weights_FS: NDArray[np.float64]
    supported_FS: NDArray[np.bool_]
    scores_F: NDArray[np.float64]
    probabilities_F: NDArray[np.float64]
    thresholds_F: NDArray[np.float64]
    maps: dict[int, heatmap.Map]
    timing_ms: dict[str, float]
    scale_maps: dict[int, dict[int, heatmap.Map]] = field(default_factory=dict)

    @property
    def positive_F(self) -> NDArray[np.bool_]:
        """True where the probability is at or above the finding's operating point; never where it is NaN."""
        return self.probabilities_F >= self.thresholds_F

    def turned(self, quarters: int) -> Prediction:
        """The same prediction with its maps turned counter-clockwise by `quarters`.

        Lays the maps of an image that was turned clockwise for the analysis back on the image as it was sent.
        """
        if not quarters:
            return self
        turned = partial(np.rot90, k=quarters)
        return replace(
            self,
            maps={finding: turned(map_GG) for finding, map_GG in self.maps.items()},
            scale_maps={
                finding: {size: turned(map_SS) for size, map_SS in by_size.items()}
                for finding, by_size in self.scale_maps.items()
            },
        )


class Predictor:
    """A bundle on engines.

    `predict` runs the engines itself and is not thread-safe. If requests share the engines, a `Batcher` runs
    them, and `conclude`, which is thread-safe, computes the prediction from their outputs.

    Attributes:
        engines: by size; each is called by one thread at a time.
        replicas: the engines of each worker thread, by size: first those of each device, beginning with
            `engines`; then their replicas, if a device runs several at once.
        weights_FS: float64 [14, S], the stack.
        thresholds_F: float64 [14], the operating points of the probabilities.
        score_thresholds_F: float64 [14], the same points as scores, for triage.
    """

    def __init__(self, bundle: Bundle, choice: Choice, *, threads: int, streams: int = 1) -> None:
        contract = bundle.contract
        # The engines hold the weights now; the file's bytes are not kept beside them.
        self.bundle: Final = replace(bundle, models={})
        self.choice: Final = choice
        self.sizes: Final = contract.preprocessing.sizes
        self.weights_FS: Final = np.array(contract.stack, np.float64)
        self.thresholds_F: Final = thresholds(contract)
        self.score_thresholds_F: Final = score_thresholds(contract)
        self._slopes_FS, self._intercepts_FS = member_calibrations(contract.members)
        self._known_F: Final = ~np.isin(NAMES, contract.unavailable)
        supported_by_size = {
            member.size: [member.supports(name) for name in NAMES] for member in contract.members
        }
        self._supported_FS: Final = np.array([supported_by_size[size] for size in self.sizes], bool).T
        precisions = {member.size: choice.precision_of(member) for member in contract.members}
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
        more = [replica for engines in devices for _ in range(1, streams) if (replica := _replica(engines))]
        self.replicas: Final[tuple[dict[int, Engine], ...]] = (*devices, *more)

    @classmethod
    def open(cls, settings: Settings, *, streams: int = 1) -> Self:
        """Open the bundle of `settings` on the engine that serves it on this machine.

        Args:
            streams: images that an engine on a CPU computes in parallel, one in each of the `replicas`.

        Raises:
            BundleError, EngineError: see `Choice.load` and `choose`.
        """
        choice = choose(settings.engine, settings.precision)
        bundle = check_source(choice.load(settings.bundle), settings)
        return cls(bundle, choice, threads=settings.threads, streams=streams)

    @property
    def precisions(self) -> dict[int, ActualPrecision]:
        """The actual arithmetic of each size."""
        return {size: engine.precision for size, engine in self.engines.items()}

    @property
    def precision(self) -> str:
        """The arithmetic as text: one for all sizes, or each that is used, from coarse to fine."""
        return ", ".join(dict.fromkeys(self.precisions[size] for size in self.sizes))

    @property
    def arithmetic(self) -> Arithmetic:
        """Engine and precisions that compute the logits; others would give other logits."""
        return Arithmetic(engine=self.choice.name, precisions=dict(self.precisions))

    def warm_up(self) -> dict[int, float]:
        """Run every engine once, so that the first request is not slower than later ones.

        Returns:
            seconds of each size; a little more than in later runs.
        """
        dark = {size: np.zeros((size, size), np.uint8) for size in self.sizes}
        timing_ms = self.predict(dark, explain="all").timing_ms
        for replica in self.replicas[1:]:
            for size, engine in replica.items():
                engine.run(dark[size][None, None])
        return {size: timing_ms[f"engine_{size}"] / 1000 for size in self.sizes}

    def predict(
        self, levels: Levels, *, explain: Explain = "positive", explain_scales: bool = False
    ) -> Prediction:
        """Run every scale on one radiograph, stack the outputs, compute the requested heatmaps.

        Args:
            levels: by size, uint8 [S, S], from `imaging.pyramid.build_pyramid`.
            explain: the findings to compute heatmaps of.
            explain_scales: also compute their `scale_maps`.

        Raises:
            BundleError: a member returned NaN or infinity.
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
        """Compute the prediction from the output of each member for one image (N = 1). Thread-safe.

        Raises:
            BundleError: a member returned NaN or infinity.
        """
        timing_ms = {f"engine_{size}": outputs[size].seconds * 1000 for size in self.sizes}
        with timed(timing_ms, "stack"):
            logits_FS = np.stack(
                [self.stacked_logits(size, outputs[size].logits_NF[0]) for size in self.sizes], axis=-1
            )
            stacked_F = stack.stacked(logits_FS[None], self.weights_FS)[0]
            scores_F = np.where(self._known_F, stacked_F, np.nan)
            probabilities_F = self._probabilities(scores_F)
        with timed(timing_ms, "heatmaps"):
            explained = self._wanted(explain, probabilities_F)
            maps, scale_maps = self._maps(outputs, logits_FS, explained, explain_scales)
        return Prediction(
            sizes=self.sizes,
            logits_FS=logits_FS,
            weights_FS=self.weights_FS,
            supported_FS=self._supported_FS,
            scores_F=scores_F,
            probabilities_F=probabilities_F,
            thresholds_F=self.thresholds_F,
            maps=maps,
            scale_maps=scale_maps,
            timing_ms=timing_ms,
        )

    def stacked_logits(self, size: int, logits_F: NDArray[np.floating]) -> NDArray[np.float64]:
        """The logits of the member of `size` as they are stacked, float64 [14]: after its calibration.

        Raises:
            BundleError: a logit is NaN or infinity.
        """
        if not np.isfinite(logits_F).all():
            raise BundleError("a member returned a score that is not a number: no result can be given")
        scale = self.sizes.index(size)
        calibrated_F: NDArray[np.float64] = (
            self._slopes_FS[:, scale] * np.asarray(logits_F, np.float64) + self._intercepts_FS[:, scale]
        )
        return calibrated_F

    def _probabilities(self, scores_F: NDArray[np.float64]) -> NDArray[np.float64]:
        """The calibrated scores, each on the side of its threshold on which the score lies.

        The logarithms of a calibration round, so that a score at its threshold could come out one digit
        below; triage decides on scores, and its decisions are these.
        """
        probabilities_F = calibrated(scores_F, self.bundle.contract)
        above_F = np.maximum(probabilities_F, self.thresholds_F)
        below_F = np.minimum(probabilities_F, np.nextafter(self.thresholds_F, -1))
        sided_F: NDArray[np.float64] = np.where(scores_F >= self.score_thresholds_F, above_F, below_F)
        return np.where(np.isnan(scores_F), np.nan, sided_F)

    def _wanted(self, explain: Explain, probabilities_F: NDArray[np.float64]) -> Collection[int]:
        if explain == "none":
            return ()
        if explain == "positive":
            return [int(finding) for finding in np.flatnonzero(probabilities_F >= self.thresholds_F)]
        requested = range(len(FINDINGS)) if explain == "all" else explain
        return [finding for finding in requested if self._known_F[finding]]

    def _maps(
        self,
        outputs: Mapping[int, Output],
        logits_FS: NDArray[np.float64],
        explained: Collection[int],
        explain_scales: bool,
    ) -> tuple[dict[int, heatmap.Map], dict[int, dict[int, heatmap.Map]]]:
        # A member's calibration multiplies its logit, and by the chain rule its map, with the slope.
        evidence_FS = stack.evidence_weights(logits_FS, self.weights_FS) * self._slopes_FS
        maps, scale_maps = {}, {}
        for finding in explained:
            grids = {size: outputs[size].maps_NFhw[0, finding] for size in self.sizes}
            weights = dict(zip(self.sizes, evidence_FS[finding].tolist(), strict=True))
            maps[finding] = heatmap.ensemble_map(grids, weights)
            if explain_scales:
                scale_maps[finding] = heatmap.scale_maps(grids, weights)
        return maps, scale_maps


def member_calibrations(members: Sequence[Member]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slopes and intercepts that logits get before they are stacked, float64 [14, S] each."""
    rows = [[member.calibration.get(name) for member in members] for name in NAMES]
    slopes = [[1.0 if entry is None else entry.slope for entry in row] for row in rows]
    intercepts = [[0.0 if entry is None else entry.intercept for entry in row] for row in rows]
    return np.array(slopes, np.float64), np.array(intercepts, np.float64)


def _replica(engines: Mapping[int, Engine]) -> dict[int, Engine]:
    """The engines for another worker of the same device; empty if it has only one."""
    replicas = {
        size: replica for size, engine in engines.items() if (replica := engine.replica()) is not None
    }
    return replicas if replicas.keys() == engines.keys() else {}


@contextmanager
def timed(timing_ms: dict[str, float], stage: str) -> Iterator[None]:
    """Write the wall time of the block into `timing_ms[stage]`, in milliseconds."""
    started = time.perf_counter()
    yield
    timing_ms[stage] = (time.perf_counter() - started) * 1000
