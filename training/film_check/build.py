"""Build a film check: fit, export, references, measured table; the section of the bundle's contract.

Legend: N films.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.film_check import VIEWS, FilmCheck, MeasuredOn, Reference, View
from cxrserve.film_check.look import Looker
from cxrserve.film_check.network import FilmCheckNetwork as ServedNetwork
from training.film_check.export import export
from training.film_check.measure import measure
from training.film_check.network import FEATURES, FilmCheckNetwork
from training.film_check.reference import look_at, measure_reference
from training.film_check.task import Picture

# Fewer films of a view teach nothing about it.
_MIN_OF_VIEW = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Films:
    """Upright chest films, as the check sees them.

    Attributes:
        pictures_NSS: uint8 [N, 256, 256].
        data: the films, in words.
        measured_on: whether they are drawn or of people.
        views_N: "PA", "AP", "lateral" or None, by film; empty where none is known.
        patients_N: whose each film is; empty where that is not known.
        groups: by name, bool [N]: which films belong to a group whose refusals are reported.
    """

    pictures_NSS: Sequence[Picture]
    data: str
    measured_on: MeasuredOn
    views_N: tuple[str | None, ...] = ()
    patients_N: tuple[str, ...] = ()
    groups: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def frontal_N(self) -> list[bool]:
        """Mask of the films that are not known to be lateral; only these serve as references."""
        return (
            [view != "lateral" for view in self.views_N] if self.views_N else [True] * len(self.pictures_NSS)
        )


def learnt_views(images: Films) -> tuple[View, ...]:
    """The views that `images` can teach: those of enough films, and none where it is one alone."""
    views: tuple[View, ...] = tuple(
        view for view in VIEWS if sum(image_view == view for image_view in images.views_N) >= _MIN_OF_VIEW
    )
    return views if len(views) > 1 else ()


def build_section(
    network: FilmCheckNetwork,
    folder: Path,
    *,
    trained_on: str,
    views: tuple[View, ...],
    refused_views: tuple[View, ...] = (),
    reference: Films,
    test: Films,
    other_references: Sequence[Reference] = (),
) -> FilmCheck:
    """Write the network into `folder` and measure what the contract says about it.

    Args:
        reference: films that did not train the network; they make the members' own reference.
        test: other films, for the measured table.
        other_references: references of other films, measured with this network.
    """
    path = export(network, folder)
    model = path.read_bytes()
    own = own_reference(ServedNetwork(model, features=FEATURES), reference, name="training", own=True)
    section = FilmCheck(
        file=path.name,
        sha256=hashlib.sha256(model).hexdigest(),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        features=FEATURES,
        trained_on=trained_on,
        views=views,
        refused_views=refused_views,
        references=(own, *other_references),
    )
    return with_table(section, model, test)


def own_reference(
    network: ServedNetwork, images: Films, *, name: str, own: bool, attribution: tuple[str, ...] = ()
) -> Reference:
    """The reference of `images`, without the lateral ones."""
    rows = np.flatnonzero(images.frontal_N).tolist()
    return measure_reference(
        look_at(network, [images.pictures_NSS[row] for row in rows]),
        [images.patients_N[row] for row in rows] if images.patients_N else None,
        name=name,
        measured_on=images.measured_on,
        own=own,
        data=images.data,
        attribution=attribution,
    )


def with_table(section: FilmCheck, model: bytes, test: Films) -> FilmCheck:
    """The section with its decisions about `test`, without the lateral films."""
    rows = np.flatnonzero(test.frontal_N)
    table = measure(
        Looker(section, model),
        [test.pictures_NSS[row] for row in rows.tolist()],
        test.data,
        {name: member_N[rows] for name, member_N in test.groups.items()},
    )
    return section.model_copy(update={"measured": table})
