"""Measure a reference on chest films: one Gaussian over their features, and their own distances.

Legend: N films, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.film_check import MeasuredOn, Reference
from cxrserve.film_check.network import Answers, FilmCheckNetwork
from training.film_check.task import Picture

Floats = NDArray[np.float64]
# Parts by whose others the distance of each film is measured.
PARTS: Final = 5
# Of the reference's films, the share that may be called mirrored or cut, though none of them is.
_FALSE_WARNINGS: Final = 0.01
# More distances than this are thinned at even ranks.
_MAX_DISTANCES: Final = 2000
_DIGITS: Final = 6
FEWEST: Final = 20


def look_at(network: FilmCheckNetwork, pictures_NSS: Sequence[Picture]) -> list[Answers]:
    """The network's answers about pictures as they lie."""
    return [network.look(picture_SS) for picture_SS in pictures_NSS]


def measure_reference(
    answers: Sequence[Answers],
    patients: Sequence[str] | None,
    *,
    name: str,
    measured_on: MeasuredOn,
    own: bool,
    data: str,
    attribution: tuple[str, ...] = (),
) -> Reference:
    """The reference of upright chest films.

    Args:
        answers: about each film.
        patients: whose each film is; None where that is not known: then each film counts as a patient.

    Raises:
        ValueError: fewer than `FEWEST` films.
    """
    if len(answers) < FEWEST:
        raise ValueError(f"{len(answers)} films could be read; a reference needs at least {FEWEST}")
    features_ND = np.array([answer.features_D for answer in answers], np.float64)
    distances_N = held_out_distances(features_ND, patients or [str(row) for row in range(len(answers))])
    mean_D, whitening_DD = gaussian(features_ND)
    cut_N4 = np.array([answer.cut_4 for answer in answers])
    return Reference(
        name=name,
        measured_on=measured_on,
        data=data,
        films=len(answers),
        patients=len(set(patients)) if patients else None,
        own=own,
        attribution=attribution,
        mean=_rounded(mean_D),
        whitening=tuple(_rounded(row[: number + 1]) for number, row in enumerate(whitening_DD)),
        distances=_rounded(_thinned(np.sort(distances_N))),
        mirrored=_tail([answer.mirrored for answer in answers]),
        cut=(_tail(cut_N4[:, 0]), _tail(cut_N4[:, 1]), _tail(cut_N4[:, 2]), _tail(cut_N4[:, 3])),
        chests=_rounded(_thinned(np.sort([answer.chest for answer in answers]))),
    )


def gaussian(features_ND: Floats) -> tuple[Floats, Floats]:
    """Mean [D] and whitening [D, D], lower triangular, of the covariance shrunk by D / (D + N)."""
    count, size = features_ND.shape
    share = size / (size + count)
    covariance_DD = np.cov(features_ND, rowvar=False)
    scale = max(float(np.trace(covariance_DD)) / size, 1e-12)
    covariance_DD = (1 - share) * covariance_DD + share * scale * np.eye(size)
    # inverse = Wᵀ W with W lower triangular: the inverse of the Cholesky factor of the covariance.
    whitening_DD = np.linalg.inv(np.linalg.cholesky(covariance_DD))
    return features_ND.mean(0), whitening_DD


def held_out_distances(features_ND: Floats, patients: Sequence[str]) -> Floats:
    """Squared distance [N] of each film from the Gaussian of the other patients' films."""
    _, patient_N = np.unique(np.asarray(patients), return_inverse=True)
    part_N = np.random.default_rng(0).permutation(patient_N.max() + 1)[patient_N] % PARTS
    distances_N = np.zeros(len(features_ND))
    for part in np.unique(part_N):
        mean_D, whitening_DD = gaussian(features_ND[part_N != part])
        whitened_ND = (features_ND[part_N == part] - mean_D) @ whitening_DD.T
        distances_N[part_N == part] = (whitened_ND**2).sum(1)
    return distances_N


def _thinned(ascending_N: Floats) -> Floats:
    if len(ascending_N) <= _MAX_DISTANCES:
        return ascending_N
    kept_N = np.linspace(0, len(ascending_N) - 1, _MAX_DISTANCES).round().astype(int)
    return np.asarray(ascending_N[kept_N])


def _tail(values_N: Sequence[float] | NDArray[np.floating]) -> float:
    return float(f"{np.quantile(np.asarray(values_N, np.float64), 1 - _FALSE_WARNINGS):.4g}")


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
