"""`cxrserve pacs …`: runs the DICOM node, checks its rules, tests connections, pulls studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cxrserve.cli.options import BundleOption, EngineOption, SetOption, settings_of
from cxrserve.cli.quarantine import drop, move, reassign, release
from cxrserve.cli.queue import queue

pacs = typer.Typer(help="The DICOM node, its rules and its queue.", no_args_is_help=True)
rules = typer.Typer(help="The rules for received objects.", no_args_is_help=True)
pacs.add_typer(rules, name="rules")
for _command in (release, move, drop, reassign):
    queue.command()(_command)
pacs.add_typer(queue, name="queue")


@rules.command("check")
def rules_check(path: Annotated[Path, typer.Argument(help="The YAML file.")]) -> None:
    """Check a rules file as the node does. Print every fault with line and key; exit code 2 if any."""
    from cxrserve.archive.rules_file import load_rules

    loaded = load_rules(path)
    names = ", ".join(rule.name for rule in loaded.rules)
    peers = ", ".join(loaded.destinations) or "none"
    Console().print(f"sound: rules {names}; destinations {peers}; anything else: {loaded.otherwise}")


@pacs.command()
def serve(
    bundle: BundleOption = None,
    archive: Annotated[Path | None, typer.Option(help="Folder of the archive.")] = None,
    rules_file: Annotated[Path | None, typer.Option("--rules", help="YAML file of the rules.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of HTTP; 0 for any free one.")] = None,
    dicom_port: Annotated[int | None, typer.Option(help="Port of DICOM; 0 for any free one.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="AE title of the node.")] = None,
    http: Annotated[bool, typer.Option(help="Also serve HTTP: the viewer, DICOMweb, /metrics.")] = True,
    worker_only: Annotated[
        bool, typer.Option(help="Listen on no port; only analyse images that other nodes have received.")
    ] = False,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Start the station: DICOM node, archive with its jobs, and HTTP service in one process."""
    from cxrserve.station import serve as run_station

    settings = settings_of(
        assignments,
        bundle=bundle,
        archive=archive,
        rules=rules_file,
        host=host,
        port=port,
        dicom_port=dicom_port,
        dicom_ae_title=ae_title,
        engine=engine,
    )
    raise typer.Exit(run_station(settings, http=http and not worker_only, dicom=not worker_only))


@pacs.command()
def echo(
    destination: Annotated[str, typer.Argument(help="Name of a destination or a worklist in the rules.")],
    rules_file: Annotated[Path | None, typer.Option("--rules", help="YAML file of the rules.")] = None,
    assignments: SetOption = None,
) -> None:
    """Check the connection to a destination or worklist: C-ECHO, or a search; exit code 2 if it fails."""
    from cxrserve.archive.rules_file import load_rules
    from cxrserve.errors import ConfigurationError
    from cxrserve.pacs.echo import echo as send_echo

    settings = settings_of(assignments, rules=rules_file)
    loaded = load_rules(settings.rules)
    peers = {**loaded.worklists, **loaded.destinations}
    if destination not in peers:
        known = ", ".join(peers) or "none"
        raise ConfigurationError(
            f"the rules name no destination or worklist {destination}. They name: {known}."
        )
    took_ms = send_echo(peers[destination], settings.dicom_ae_title)
    Console().print(f"{destination} answered in {took_ms:.0f} ms")


@pacs.command()
def pull(
    study: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")],
    url: Annotated[str, typer.Option(help="Address of the station.")] = "http://127.0.0.1:8000",
    assignments: SetOption = None,
) -> None:
    """Make a running station pull a study from the servers in its rules and analyse it."""
    from cxrserve.imaging.dicom.identity import is_uid
    from cxrserve.pacs.station_client import pull as request_pull

    if not is_uid(study):
        raise typer.BadParameter(f"{study[:64]!r} is no Study Instance UID: digits and dots, at most 64.")
    token = settings_of(assignments).token.get_secret_value()
    count = request_pull(url, study, token)
    Console().print(f"{count} objects arrived" + ("" if count else "; the archive has all of them already"))
