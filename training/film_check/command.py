"""Give a bundle a film check, or measure the one that it has, on somebody's films.

Legend: N films.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cxrserve.bundle.contract import load_bundle, write_contract
from cxrserve.bundle.film_check import FilmCheck, Reference
from cxrserve.errors import CxrserveError, RequestError
from cxrserve.film_check.network import FilmCheckNetwork as ServedNetwork
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.prepared import CHECK_SIDE
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, resize
from training.film_check.build import Films, build_section, own_reference, with_table
from training.film_check.fit import fit
from training.film_check.reference import FEWEST
from training.film_check.task import Picture
from training.phantom.phantom import make_phantom
from training.recipes.config import FilmCheckConfig

NAME: Final = "films"
_FIRST_PHANTOM: Final = 3_000_000


def measure_on_films(
    bundle: Path, paths: Sequence[Path], *, attribution: tuple[str, ...] = (), steps: int, phantoms: int
) -> FilmCheck:
    """Measure the bundle's film check on the images in `paths`, or train one, and replace its contract.

    Raises:
        RequestError: too few films can be read.
        BundleError: the bundle cannot be used.
    """
    console, loaded = Console(stderr=True), load_bundle(bundle)
    pictures = np.array(read_pictures(paths, loaded.contract.preprocessing, console))
    section, model = loaded.contract.film_check, loaded.film_check_model
    parts = 2 if section else 3
    if len(pictures) < parts * FEWEST:
        raise RequestError(f"{len(pictures)} films could be read; {parts * FEWEST} are needed.")
    shuffled = np.random.default_rng(0).permutation(pictures)
    *training, reference, test = np.array_split(shuffled, parts)
    if section is None or model is None:
        section = _trained(
            bundle, training[0], reference, test, loaded.contract.preprocessing, steps, phantoms
        )
        named = section.references[0].model_copy(update={"name": NAME, "attribution": attribution})
        section = section.model_copy(update={"references": (named,)})
    else:
        network = ServedNetwork(model, features=section.features)
        measured = own_reference(network, _films(reference), name=NAME, own=False, attribution=attribution)
        section = with_table(with_reference(section, measured), model, _films(test))
    write_contract(bundle, loaded.contract.model_copy(update={"film_check": section}))
    show(section, Console())
    return section


def with_reference(section: FilmCheck, reference: Reference) -> FilmCheck:
    """The section with `reference` in the place of the one of its name, or behind the others.

    One of the members' own kind stays the members' own.
    """
    before = [earlier for earlier in section.references if earlier.name == reference.name]
    reference = reference.model_copy(update={"own": before[0].own if before else False})
    remaining = tuple(earlier for earlier in section.references if earlier.name != reference.name)
    return section.model_copy(update={"references": (*remaining, reference)})


def read_pictures(paths: Sequence[Path], preprocessing: Preprocessing, console: Console) -> list[Picture]:
    """The pictures that the check sees of the files in `paths`; says how many cannot be read."""
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    small = preprocessing.model_copy(update={"sizes": (CHECK_SIDE,)})
    pictures, refused = [], 0
    for file in track([file for file in files if file.is_file()], "films", console=console):
        try:
            pictures.append(prepare(file.read_bytes(), small, Limits()).check_SS)
        except CxrserveError:
            refused += 1
    if refused:
        console.print(f"{refused} of {refused + len(pictures)} files are no radiographs that can be read")
    return pictures


def _trained(
    bundle: Path,
    training: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    test: NDArray[np.uint8],
    preprocessing: Preprocessing,
    steps: int,
    phantoms: int,
) -> FilmCheck:
    drawn = [_phantom(_FIRST_PHANTOM + number, preprocessing) for number in range(phantoms)]
    pictures = [*training, *drawn]

    def show_progress(batches: Iterable[object], count: int) -> Iterable[object]:
        return track(batches, "film check", total=count, console=Console(stderr=True))

    network = fit(pictures, [None] * len(pictures), FilmCheckConfig(steps=steps), track=show_progress)
    return build_section(
        network,
        bundle,
        trained_on=f"{len(training)} films and {phantoms} phantoms",
        views=(),
        reference=_films(reference),
        test=_films(test),
    )


def _phantom(seed: int, preprocessing: Preprocessing) -> Picture:
    grey_HW, _ = apply_profile(make_phantom(seed).radiograph, preprocessing.profile)
    return resize(grey_HW, CHECK_SIDE, CHECK_SIDE, "area")


def _films(pictures_NSS: NDArray[np.uint8]) -> Films:
    return Films(
        pictures_NSS=list(pictures_NSS),
        data=f"{len(pictures_NSS)} films, taken to be one a patient",
        measured_on="radiographs",
    )


def show(section: FilmCheck, console: Console) -> None:
    """A table of what was measured."""
    table = Table(header_style="dim")
    for heading in ("films", "answer", "share"):
        table.add_column(heading, justify="right" if heading == "share" else "left")
    for row in section.measured:
        table.add_row(row.kind, row.answer, f"{row.count} of {row.films}")
    console.print(table)
