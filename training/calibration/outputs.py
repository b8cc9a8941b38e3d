"""Outputs of a bundle's members for labelled images, kept to fit a calibration or a stack on.

Legend: F findings, S scales, P findings that are present, h and w of a member's maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrserve.engines.base import Output
from cxrserve.ensemble.predictor import Levels, Prediction, Predictor
from training.calibration.bundle import Labelled


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageOutputs:
    """The outputs of the members for one image.

    Attributes:
        logits: by size, float32 [F], before any calibration.
        maps: by size, float32 [P, h, w], raw, of the findings that are present.
        labels_F: 0, 1, or NaN where nothing is known.
        study: equal for images of one study.
    """

    logits: Mapping[int, NDArray[np.float32]]
    maps: Mapping[int, NDArray[np.float32]]
    labels_F: NDArray[np.float64]
    study: int

    @property
    def raw_FS(self) -> NDArray[np.float64]:
        """The logits, ascending by size."""
        return np.stack([self.logits[size] for size in sorted(self.logits)], -1).astype(np.float64)

    @property
    def present(self) -> list[int]:
        """Indices of the findings that are present."""
        return [int(index) for index in np.flatnonzero(self.labels_F > 0.5)]


def outputs_of(
    predictor: Predictor, levels: Levels, labels_F: NDArray[np.floating], study: int
) -> ImageOutputs:
    """Run every member on one image.

    Args:
        levels: by size, uint8 [S, S].
    """
    present = np.flatnonzero(labels_F > 0.5)
    outputs = {size: predictor.engines[size].run(levels[size][None, None]) for size in predictor.sizes}
    return ImageOutputs(
        logits={size: output.logits_NF[0].copy() for size, output in outputs.items()},
        maps={size: output.maps_NFhw[0, present].copy() for size, output in outputs.items()},
        labels_F=np.asarray(labels_F, np.float64),
        study=study,
    )


def prediction_of(predictor: Predictor, image: ImageOutputs) -> Prediction:
    """The prediction from kept outputs, with the heatmaps of present findings, as it is served."""
    outputs = {}
    for size in predictor.sizes:
        maps_PHW = image.maps[size]
        maps_NFhw = np.zeros((1, len(image.labels_F), *maps_PHW.shape[1:]), np.float32)
        maps_NFhw[0, image.present] = maps_PHW
        outputs[size] = Output(logits_NF=image.logits[size][None], maps_NFhw=maps_NFhw)
    return predictor.conclude(outputs, explain=image.present)


def labelled(predictor: Predictor, images: Sequence[ImageOutputs], data: str) -> Labelled:
    """Scores and heatmap maxima of labelled images by the stack of `predictor`."""
    scores, maxima = [], []
    for image in images:
        prediction = prediction_of(predictor, image)
        maxima_F = np.full(len(image.labels_F), np.nan)
        for index, map_GG in prediction.maps.items():
            maxima_F[index] = map_GG.max()
        scores.append(prediction.scores_F)
        maxima.append(maxima_F)
    return Labelled(
        scores_NF=np.array(scores),
        labels_NF=np.array([image.labels_F for image in images]),
        study_N=np.array([image.study for image in images], np.int64),
        maxima_NF=np.array(maxima),
        data=data,
    )
