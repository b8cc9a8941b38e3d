"""One look at a film: how it lies, its polarity, its view, what is cut off, and which references know it.

A film that seems turned, inverted or mirrored is looked at once more, as it would be when corrected:
distances, cut and view mean something on an upright film alone, and what is certain must be certain both
times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.film_check import VIEWS, FilmCheck, View
from cxrserve.film_check.network import Answers, FilmCheckNetwork
from cxrserve.film_check.reference import Gaussian

Picture = NDArray[np.uint8]

# Of a picture that is no chest, the answer about mirroring is a guess near one half.
_MIRRORED: Final = 0.9
SIDES: Final = ("above", "at the right", "below", "at the left")


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Result of a look at one film.

    Attributes:
        quarters: the quarter turns counter-clockwise by which the film is turned, 0 to 3.
        quarters_probability: the lesser of the two looks.
        inverted_probability: likewise, where it is inverted; else of the first look.
        mirrored_probability: of the film as it would be upright.
        view, view_probability: None and 0 where the network has not learnt to tell views.
        cut_4: probability that a part is missing above, at the right, below, at the left, of the film as it
            would be upright.
        chest_probability: of the film as it would be upright.
        ranks: conformal p-value of the distance, by the name of the reference.
        likeness: likewise, together with the probability of a chest.
        distances: squared Mahalanobis distance likewise.
        nearest: the reference that it fits best.
    """

    quarters: int
    quarters_probability: float
    inverted_probability: float
    mirrored_probability: float
    view: View | None
    view_probability: float
    cut_4: tuple[float, float, float, float]
    chest_probability: float
    ranks: dict[str, float]
    likeness: dict[str, float]
    distances: dict[str, float]
    nearest: str


class Looker:
    """The network and the references of one bundle."""

    def __init__(self, section: FilmCheck, model: bytes) -> None:
        """Raises BundleError: the model is not the graph of a film check."""
        self.section: Final = section
        self._network: Final = FilmCheckNetwork(model, features=section.features)
        self._gaussians: Final = [Gaussian(reference) for reference in section.references]

    def look(self, picture_SS: Picture) -> Look:
        """Look at one picture, uint8 [256, 256], twice where it seems turned or inverted."""
        first = upright = self._network.look(picture_SS)
        quarters, inverted = int(first.quarter_4.argmax()), first.inverted >= 0.5
        quarters_probability, inverted_probability = float(first.quarter_4[quarters]), first.inverted
        if quarters or inverted:
            upright = self._network.look(corrected(picture_SS, quarters, inverted=inverted))
            quarters_probability = min(quarters_probability, float(upright.quarter_4[0]))
            if inverted:
                inverted_probability = min(inverted_probability, 1 - upright.inverted)
        mirrored_probability, (above, right, below, left) = upright.mirrored, upright.cut_4.tolist()
        if upright.mirrored >= _MIRRORED:
            straight_SS = corrected(picture_SS, quarters, inverted=inverted)[:, ::-1]
            upright = self._network.look(straight_SS)
            mirrored_probability = min(mirrored_probability, 1 - upright.mirrored)
            above, left, below, right = upright.cut_4.tolist()
        ranks = {gaussian.name: gaussian.rank(upright.features_D) for gaussian in self._gaussians}
        likeness = {
            gaussian.name: gaussian.likeness(upright.features_D, upright.chest)
            for gaussian in self._gaussians
        }
        distances = {gaussian.name: gaussian.distance(upright.features_D) for gaussian in self._gaussians}
        view, view_probability = self._view(upright)
        return Look(
            quarters=quarters,
            quarters_probability=quarters_probability,
            inverted_probability=inverted_probability,
            mirrored_probability=mirrored_probability,
            view=view,
            view_probability=view_probability,
            cut_4=(above, right, below, left),
            chest_probability=upright.chest,
            ranks=ranks,
            likeness=likeness,
            distances=distances,
            nearest=max(likeness, key=lambda name: (likeness[name], -distances[name])),
        )

    def _view(self, upright: Answers) -> tuple[View | None, float]:
        known = {view: float(upright.view_3[VIEWS.index(view)]) for view in self.section.views}
        if not known:
            return None, 0.0
        view = max(known, key=lambda name: known[name])
        return view, known[view]


def corrected(picture_SS: Picture, quarters: int, *, inverted: bool) -> Picture:
    """The picture turned back by `quarters` clockwise, and with its polarity exchanged if `inverted`."""
    turned_SS = np.rot90(picture_SS, -quarters)
    return np.ascontiguousarray(255 - turned_SS if inverted else turned_SS)
