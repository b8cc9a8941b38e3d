"""Films for the film check out of a run's cached pyramids.

Legend: N images, F findings, S side of the check's picture.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import NAMES
from cxrserve.imaging.prepared import CHECK_SIDE
from cxrserve.imaging.pyramid import resize
from training.cache import PyramidCache
from training.datasets.sample import Sample
from training.film_check.build import Films

# More pictures than this add nothing to training, references or tables; they are thinned evenly.
MAX_FILMS: Final = 20_000
_AGES: Final = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))
_VIEWS: Final = ("PA", "AP", "lateral")


def films_of(images: PyramidCache, data: str, *, limit: int = MAX_FILMS) -> Films:
    """At most `limit` of the images, as the check sees them.

    The smallest level of at least 256 pixels is squashed to 256. Under another fit than squash the pictures
    differ a little from those that are served, which are made from the whole film.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, min(limit, len(images))).astype(int))
    size = min((size for size in images.levels if size >= CHECK_SIDE), default=max(images.levels))
    level, samples = (
        images.level(size),
        [images.records[row] for row in rows.tolist()] if images.records else [],
    )
    return Films(
        pictures_NSS=[_square(np.asarray(level[row])) for row in rows.tolist()],
        data=f"{len(rows)} {data}",
        measured_on="radiographs" if samples else "phantoms",
        views_N=tuple(sample.view if sample.view in _VIEWS else None for sample in samples),
        patients_N=tuple(sample.patient_id for sample in samples),
        groups=_groups(np.asarray(images.labels_NF)[rows], samples),
    )


def _square(level_SS: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(resize(level_SS, CHECK_SIDE, CHECK_SIDE, "area"))


def _groups(labels_NF: NDArray[np.float32], samples: list[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Films by finding, and by view, sex and age where those are known."""
    groups = {f"finding {name}": labels_NF[:, index] > 0.5 for index, name in enumerate(NAMES)}
    if not samples:
        return groups
    for view in _VIEWS:
        groups[f"view {view}"] = np.array([sample.view == view for sample in samples])
    for sex in ("F", "M"):
        groups[f"sex {sex}"] = np.array([sample.sex == sex for sample in samples])
    for low, high in _AGES:
        groups[f"age {low} to {high - 1}"] = np.array(
            [sample.age is not None and low <= sample.age < high for sample in samples]
        )
    return groups
