"""`cxrserve models film-check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def film_check(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder; its contract is replaced.")],
    films: Annotated[
        list[Path],
        typer.Argument(help="Upright frontal chest films that had no part in training; files and folders."),
    ],
    attribution: Annotated[
        list[str] | None, typer.Option(help="Source of the films, as their licence asks; repeat for several.")
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Of training, where the bundle has no film check.")
    ] = 1000,
    phantoms: Annotated[
        int, typer.Option(min=0, help="Phantoms that are drawn to train beside the films, likewise.")
    ] = 300,
) -> None:
    """Measure the bundle's film check on films, or train one where the bundle has none.

    The reference is refitted and the table measured: a film that is unlike these films gets a warning, and
    with 1,000 or more of them what lies beyond all but one in a thousand is refused. Films are taken to be
    one a patient. Half of the films make the reference and the other half the table; a new network is trained
    on a third of them first.
    """
    from training.film_check.command import measure_on_films

    measure_on_films(bundle, films, attribution=tuple(attribution or ()), steps=steps, phantoms=phantoms)
