"""Views: one vocabulary for what each dataset calls the projection, and a filter."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np

from training.datasets.faults import DatasetError
from training.datasets.manifest import Manifest
from training.datasets.sample import View

ViewFilter = Literal["all", "frontal", "lateral", "AP", "PA"]

FRONTAL: Final[frozenset[View]] = frozenset({"AP", "PA", "frontal"})
_VIEWS_OF: Final[dict[ViewFilter, frozenset[View]]] = {
    "all": frozenset(get_args(View)),
    "frontal": FRONTAL,
    "lateral": frozenset({"lateral"}),
    "AP": frozenset({"AP"}),
    "PA": frozenset({"PA"}),
}
# View Position (PS3.3 C.8.11.7.1.1) as MIMIC-CXR's metadata holds it, and the meanings of its view codes.
_NAMES: Final[dict[str, View]] = {
    "AP": "AP",
    "PA": "PA",
    "ANTERO-POSTERIOR": "AP",
    "POSTERO-ANTERIOR": "PA",
    "FRONTAL": "frontal",
    "AP AXIAL": "frontal",
    "AP LLD": "frontal",
    "AP RLD": "frontal",
    "PA LLD": "frontal",
    "PA RLD": "frontal",
    "LL": "lateral",
    "RL": "lateral",
    "LATERAL": "lateral",
    "LEFT LATERAL": "lateral",
    "RIGHT LATERAL": "lateral",
    "XTABLE LATERAL": "lateral",
    "": "unknown",
}


def views_of(views: ViewFilter) -> frozenset[View]:
    """The views that the filter keeps."""
    return _VIEWS_OF[views]


def read_view(cell: str) -> View:
    """The view that `cell` names; "other" for a projection that is neither frontal nor lateral."""
    return _NAMES.get(cell.strip().upper(), "other")


def keep_views(manifest: Manifest, which: ViewFilter) -> Manifest:
    """The images of `manifest` whose view is `which`.

    Raises:
        DatasetError: there is none, or no such filter.
    """
    if which not in _VIEWS_OF:
        raise DatasetError(f"unknown view filter {which[:40]!r}; expected one of {', '.join(_VIEWS_OF)}")
    filtered = manifest.subset(
        np.array([sample.view in _VIEWS_OF[which] for sample in manifest.samples], np.bool_)
    )
    if not filtered.samples:
        views = sorted({sample.view for sample in manifest.samples})
        raise DatasetError(f"no image of {manifest.source} is {which}; its views are {', '.join(views)}")
    return filtered
