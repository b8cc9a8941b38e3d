"""`cxrserve pacs queue …`: what waits, dead letters, and what was set aside. Works beside a running node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from cxrserve.options import SetOption, settings_of

if TYPE_CHECKING:
    from cxrserve.archive.letters import Letters

queue = typer.Typer(help="What waits to be made or delivered, and dead letters.", no_args_is_help=True)

ArchiveOption = Annotated[Path | None, typer.Option(help="Folder of the archive.")]
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Of a job, or enough of its beginning.")]
JobsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Dead letters.")]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@contextmanager
def _letters(archive: Path | None, assignments: list[str] | None) -> Iterator[Letters]:
    from cxrserve.archive.letters import Letters

    opened = Letters.open(settings_of(assignments, archive=archive))
    try:
        yield opened
    finally:
        opened.close()


@queue.command("list")
def list_jobs(
    state: Annotated[
        Literal["waiting", "dead", "done"] | None, typer.Option(help="Only these; else waiting and dead.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most lines.")] = 100,
    archive: ArchiveOption = None,
    assignments: SetOption = None,
) -> None:
    """List jobs: the making of a study's results, and deliveries."""
    table = Table(header_style="dim")
    for heading in ("job", "what", "destination", "state", "tries", "problem"):
        table.add_column(heading, overflow="fold")
    with _letters(archive, assignments) as letters:
        for job in letters.jobs(state, limit):
            problem = "" if job.problem is None else str(job.problem["detail"])
            table.add_row(job.id, job.kind, job.destination, job.state, str(job.attempts), problem)
        aside = len(letters.quarantine())
    Console().print(table if table.row_count else "nothing waits, and there are no dead letters")
    if aside:
        Console().print(f"{aside} objects were set aside; `cxrserve pacs queue quarantine` lists them")


@queue.command()
def show(job: JobArgument, archive: ArchiveOption = None, assignments: SetOption = None) -> None:
    """Print one job as JSON: its study, files and last problem."""
    with _letters(archive, assignments) as letters:
        Console().print_json(letters.find(job).model_dump_json())


@queue.command()
def retry(
    jobs: JobsArgument = None,
    every: AllOption = False,
    archive: ArchiveOption = None,
    assignments: SetOption = None,
) -> None:
    """Try dead letters again; a running node begins within seconds."""
    with _letters(archive, assignments) as letters:
        names = _named(letters, jobs, every)
        Console().print(f"{sum(letters.retry(name) for name in names)} dead letters will be tried again")


@queue.command()
def purge(
    jobs: JobsArgument = None,
    every: AllOption = False,
    archive: ArchiveOption = None,
    assignments: SetOption = None,
) -> None:
    """Give dead letters up for good; the results stay in the archive."""
    with _letters(archive, assignments) as letters:
        names = _named(letters, jobs, every)
        Console().print(f"{sum(letters.purge(name) for name in names)} dead letters were given up")


def _named(letters: Letters, jobs: list[str] | None, every: bool) -> list[str | None]:
    if bool(jobs) == every:
        raise typer.BadParameter("give the ids of dead letters, or --all")
    return [None] if every else [letters.find(job).id for job in jobs or ()]


@queue.command()
def quarantine(archive: ArchiveOption = None, assignments: SetOption = None) -> None:
    """List objects that were set aside: their UID was kept with other content, or of another patient."""
    table = Table(header_style="dim")
    for heading in ("SOP Instance UID", "SHA-256: the file's name", "came by", "from", "why"):
        table.add_column(heading, overflow="fold")
    with _letters(archive, assignments) as letters:
        for each in letters.quarantine():
            table.add_row(each.sop_instance_uid, each.sha256, each.protocol, each.calling_ae, each.reason)
    Console().print(table if table.row_count else "nothing was set aside")
