"""The receptive fields of a bundle's members: theoretical and effective, from the files that serve.

Legend: S side of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from training.networks.base import MapNetwork
from training.networks.onnx_graph import GraphNetwork
from training.networks.receptive_field import effective_field, energy_radius
from training.report.evaluation import FieldResult


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeasuredField:
    """`field_SS` float64 [S, S], the mean squared gradient, and what it comes to."""

    field_SS: NDArray[np.float64]
    result: FieldResult


def measure_field(sources: Sequence[tuple[bytes, NDArray[np.uint8]]], images: int) -> MeasuredField:
    """The fields of the members of one size of all folds, on `images` of their images together.

    Each fold's field counts alike, whatever the size of its gradients. On a GPU where there is one: on a CPU
    a gradient through a full-width network at 2048 takes half a minute.

    Args:
        sources: a member's file and its images, uint8 [N, S, S], of each fold.

    Raises:
        ValueError: the graph holds an operation that is not known here.
    """
    used = sources[:images]
    fields, count, side = [], 0, math.inf
    for index, (model, images_NSS) in enumerate(used):
        network = GraphNetwork(model).to("cuda" if torch.cuda.is_available() else "cpu")
        share = min(len(images_NSS), images // len(used) + (index < images % len(used)))
        # It has the features and the parameters of one, which is all that is asked for.
        field_SS = effective_field(
            cast(MapNetwork, network), (np.ascontiguousarray(images_NSS[row]) for row in range(share))
        )
        fields.append(field_SS / (field_SS.sum() or 1.0))
        count += share
        side = network.theoretical_field().size
    mean_SS = np.mean(fields, 0)
    return MeasuredField(
        field_SS=mean_SS,
        result=FieldResult(
            theoretical=None if math.isinf(side) else round(side),
            radius_50=energy_radius(mean_SS, 0.5),
            radius_95=energy_radius(mean_SS, 0.95),
            images=count,
        ),
    )
