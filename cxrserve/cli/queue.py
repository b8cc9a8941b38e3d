"""`cxrserve pacs queue …`: lists, retries and purges jobs, beside a running node."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxrserve.cli.options import SetOption, settings_of

if TYPE_CHECKING:
    from cxrserve.archive.jobs.job_store import Job, JobStore

_PIPE_WIDTH = 1000
_MAX_AUDITED = 10_000
queue = typer.Typer(help="Waiting jobs, dead letters and the quarantine.", no_args_is_help=True)

ArchiveOption = Annotated[Path | None, typer.Option(help="Folder of the archive.")]
JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="Short id of a job as `list` prints it, or its id or the first characters of it."
    ),
]
JobsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]…", help="Ids of jobs that are dead or waiting.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]


@contextmanager
def _job_store(
    archive: Path | None, assignments: list[str] | None, *, audited: bool = False
) -> Iterator[JobStore]:
    """The jobs of an archive; `audited` to record in the audit trail that the settings name."""
    from cxrserve.archive.jobs.job_store import JobStore
    from cxrserve.audit.trail import open_trail

    settings = settings_of(assignments, archive=archive)
    with open_trail(settings, is_service=False) if audited else nullcontext():
        store = JobStore.open(settings)
        try:
            yield store
        finally:
            store.close()


@queue.command("list")
def list_jobs(
    state: Annotated[
        Literal["waiting", "dead", "done"] | None,
        typer.Option(help="Only jobs in this state; by default waiting and dead."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of lines.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, with the full ids.")] = False,
    archive: ArchiveOption = None,
    assignments: SetOption = None,
) -> None:
    """List jobs: studies, deliveries, and reports of Storage Commitment."""
    with _job_store(archive, assignments) as store:
        jobs, quarantined = store.jobs(state, limit), len(store.quarantine())
    if as_json:
        typer.echo(json.dumps([job.model_dump(mode="json") for job in jobs], indent=1))
        return
    table = Table(header_style="dim")
    for heading in ("job", "kind", "destination", "state", "tries", "next try", "problem"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        problem = "" if job.problem is None else str(job.problem["detail"])
        tries = str(job.attempts)
        _add_row(table, job.short_id, job.kind, job.destination, job.state, tries, _next_try(job), problem)
    _console().print(table if table.row_count else "no jobs are waiting, and there are no dead letters")
    if quarantined:
        _console().print(
            f"{quarantined} objects are in quarantine; `cxrserve pacs queue quarantine` lists them"
        )


@queue.command()
def show(job: JobArgument, archive: ArchiveOption = None, assignments: SetOption = None) -> None:
    """Print one job as JSON: its study, files or request, and last problem."""
    with _job_store(archive, assignments) as store:
        Console().print_json(store.find(job).model_dump_json())


@queue.command()
def retry(
    jobs: JobsArgument = None,
    every: AllOption = False,
    archive: ArchiveOption = None,
    assignments: SetOption = None,
) -> None:
    """Try jobs again at once, dead or waiting for their next try; a running node starts within seconds."""
    with _job_store(archive, assignments, audited=True) as store:
        count = _change(store, "retry", store.retry, _named(store, jobs, every))
    Console().print(f"{count} jobs will be tried again")


@queue.command()
def purge(
    jobs: JobsArgument = None,
    every: AllOption = False,
    archive: ArchiveOption = None,
    assignments: SetOption = None,
) -> None:
    """Give up jobs for good, dead or waiting for their next try; the results stay in the archive."""
    with _job_store(archive, assignments, audited=True) as store:
        count = _change(store, "purge", store.purge, _named(store, jobs, every))
    Console().print(f"{count} jobs were given up")


def _change(
    store: JobStore,
    action: Literal["retry", "purge"],
    change: Callable[[str | None], int],
    names: list[str | None],
) -> int:
    """Apply `change` to these jobs, and record each in the audit trail: one event for `--all`."""
    from cxrserve.audit.event import AuditEvent
    from cxrserve.audit.trail import record

    count = 0
    for name in names:
        jobs = store.jobs("dead", _MAX_AUDITED) if name is None else [store.find(name)]
        changed = _changed(change, name)
        count += changed
        studies = dict.fromkeys(job.study_instance_uid for job in jobs if job.study_instance_uid)
        record(
            AuditEvent(
                action=action,
                detail="all" if name is None else name,
                user=getpass.getuser(),
                studies=tuple(studies) if changed else (),
            )
        )
    return count


def _changed(change: Callable[[str | None], int], job: str | None) -> int:
    """Apply `change` to a job, or to all dead letters for None."""
    from cxrserve.errors import RequestError

    count = change(job)
    if job is not None and count == 0:
        raise RequestError(f"job {job} is done, or a node works on it now. `cxrserve pacs queue show` tells.")
    return count


def _next_try(job: Job) -> str:
    if job.state != "waiting":
        return ""
    seconds = job.due - time.time()
    return "now" if seconds <= 0 else f"in {seconds:.0f} s"


def _console() -> Console:
    """A console that folds no line where its output goes into a pipe or a file."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=_PIPE_WIDTH)


def _named(store: JobStore, jobs: list[str] | None, every: bool) -> list[str | None]:
    if bool(jobs) == every:
        raise typer.BadParameter("give the ids of jobs, or --all for all dead letters")
    return [None] if every else [store.find(job).id for job in jobs or ()]


@queue.command()
def quarantine(archive: ArchiveOption = None, assignments: SetOption = None) -> None:
    """List quarantined objects: their UID is stored with other content, or with another patient's study."""
    table = Table(header_style="dim")
    for heading in ("SOP Instance UID", "SHA-256 (file name)", "protocol", "calling AE", "reason"):
        table.add_column(heading, overflow="fold")
    with _job_store(archive, assignments) as store:
        for item in store.quarantine():
            _add_row(table, item.sop_instance_uid, item.sha256, item.protocol, item.calling_ae, item.reason)
    Console().print(table if table.row_count else "the quarantine is empty")


def _add_row(table: Table, *cells: str) -> None:
    """Add a row of plain text: a peer chooses its AE title, which must not be read as rich's markup."""
    table.add_row(*(Text(cell) for cell in cells))
