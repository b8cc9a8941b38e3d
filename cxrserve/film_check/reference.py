"""Distance of a film's features from a reference, and its rank among the films of that reference.

Legend: D features, N films.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.film_check import Reference

Floats = NDArray[np.float32]

_SURE: Final = 0.99


class Gaussian:
    """A reference, unpacked for measuring."""

    def __init__(self, reference: Reference) -> None:
        size = len(reference.mean)
        self.name = reference.name
        self._mean_D = np.array(reference.mean)
        self._whitening_DD = np.zeros((size, size))
        for row, numbers in enumerate(reference.whitening):
            self._whitening_DD[row, : row + 1] = numbers
        self._distances_N = np.array(reference.distances)
        self._chests_N = np.minimum(reference.chests, _SURE)

    def distance(self, features_D: Floats) -> float:
        """Squared Mahalanobis distance."""
        whitened_D = self._whitening_DD @ (features_D.astype(np.float64) - self._mean_D)
        return float(whitened_D @ whitened_D)

    def rank(self, features_D: Floats) -> float:
        """Conformal p-value: the share of the reference's films that lie at least as far, with this one.

        Uniform between 0 and 1 for films like those of the reference; at least 1 / (N + 1).
        """
        return _rank((self._distances_N >= self.distance(features_D)).sum(), len(self._distances_N))

    def likeness(self, features_D: Floats, chest: float) -> float:
        """The rank, or a smaller p-value out of it and the probability of a chest.

        Fisher's method for two: the probability that a product of two uniform numbers is as small. Above
        `_SURE` all probabilities of a chest count as the same. Somewhat more than 1 % of the reference's
        films come below 0.01, as the smaller of two is taken.
        """
        rank = self.rank(features_D)
        shows = _rank((self._chests_N <= min(chest, _SURE)).sum(), len(self._chests_N))
        return min(rank, float(rank * shows * (1 - np.log(rank * shows))))


def _rank(as_extreme: np.integer, images: int) -> float:
    return (int(as_extreme) + 1) / (images + 1)
