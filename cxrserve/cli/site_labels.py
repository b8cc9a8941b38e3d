"""`cxrserve site labels`: exports the labels that readers gave in the viewer."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cxrserve.cli.options import SetOption, settings_of

_DATE = ["%Y-%m-%d"]


def export(
    out: Annotated[Path, typer.Argument(help="New folder for labels.csv and films/.")],
    archive: Annotated[Path | None, typer.Option(help="Folder of the archive.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="Only studies received on this day or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="Only studies received before this day.")
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(help="Site file that names the stations of AE titles.", envvar="CXRSERVE_SITE"),
    ] = None,
    assignments: SetOption = None,
) -> None:
    """Write the labels that readers gave in the viewer, and their films, for `site draft` and `site check`.

    For a fair check, draft from the studies before a day (--until) and check on those after it (--since). The
    films hold patient data as they were received.
    """
    from cxrserve.archive.label_export import export_labels
    from cxrserve.audit.event import AuditEvent
    from cxrserve.audit.trail import open_trail, record
    from cxrserve.site.file import read_site

    settings = settings_of(assignments, archive=archive)
    stations = None if site is None else read_site(site)[0].station_of
    with open_trail(settings, is_service=False):
        done = export_labels(
            settings,
            out,
            since=None if since is None else since.timestamp(),
            until=None if until is None else until.timestamp(),
            stations=stations,
        )
        record(AuditEvent(action="export", detail="labels", user=getpass.getuser(), studies=done.studies))
    console = Console(soft_wrap=True)
    console.print(
        f"{done.labels} labels of {done.films} films of {len(done.studies)} studies are in {out}",
        markup=False,
    )
    if done.missing:
        console.print(f"{done.missing} films are missing: deleted by retention, or damaged", markup=False)
