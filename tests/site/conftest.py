"""A hospital in numbers: scores of films whose true probability is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrserve.bundle.contract import Contract, read_contract
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.findings import NAMES
from cxrserve.site.films import Films
from cxrserve.watch.streams import STREAMS

ARITHMETIC = Arithmetic(engine="openvino", precisions={64: "f32", 128: "f32", 256: "f32", 512: "f32"})


@pytest.fixture(scope="session")
def contract(tiny_bundle: Path) -> Contract:
    """The contract of the tiny bundle."""
    return read_contract(tiny_bundle)[0]


def hospital(
    films: int, seed: int, *, prevalence: float = 0.15, shift: float = 1.0, slope: float = 0.7
) -> Films:
    """Films of which every score is off by the same shift and slope of the logit."""
    random = np.random.default_rng(seed)
    labels_NF = (random.random((films, len(NAMES))) < prevalence).astype(float)
    truth_NF = random.normal(size=labels_NF.shape) * 1.7 + 3 * labels_NF - 3.5
    values_NS = np.full((films, len(STREAMS)), np.nan)
    values_NS[:, :2] = random.random((films, 2))
    names = tuple(f"film{number}.png" for number in range(films))
    return Films(
        files=names,
        scores_NF=1 / (1 + np.exp(-(slope * truth_NF + shift))),
        values_NS=values_NS,
        views=tuple("PA" if number % 3 else "AP" for number in range(films)),
        stations=("other",) * films,
        labels_NF=labels_NF,
        patients=tuple(f"patient{number // 2}" for number in range(films)),
    )
