"""`cxrserve pacs …`: the rules and the queue; the node's own commands join this group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cxrserve.options import BundleOption, EngineOption, SetOption, settings_of
from cxrserve.queue_cli import queue

pacs = typer.Typer(help="The DICOM node: serve it, its rules, its queue.", no_args_is_help=True)
rules = typer.Typer(help="The rules for received objects.", no_args_is_help=True)
pacs.add_typer(rules, name="rules")
pacs.add_typer(queue, name="queue")


@rules.command("check")
def rules_check(path: Annotated[Path, typer.Argument(help="The YAML file.")]) -> None:
    """Read a rules file as the node does, and say every fault with its line and key; exit code 2."""
    from cxrserve.archive.rules import load_rules

    found = load_rules(path)
    names = ", ".join(rule.name for rule in found.rules)
    peers = ", ".join(found.destinations) or "none"
    Console().print(f"sound: rules {names}; destinations {peers}; anything else: {found.otherwise}")


@pacs.command()
def serve(
    bundle: BundleOption = None,
    archive: Annotated[Path | None, typer.Option(help="Folder of the archive.")] = None,
    rules_file: Annotated[Path | None, typer.Option("--rules", help="YAML file of the rules.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of HTTP; 0 takes a free one.")] = None,
    dicom_port: Annotated[int | None, typer.Option(help="Port of DICOM; 0 takes a free one.")] = None,
    ae_title: Annotated[str | None, typer.Option(help="AE title of the node.")] = None,
    http: Annotated[bool, typer.Option(help="Serve HTTP too: the viewer, DICOMweb, /metrics.")] = True,
    worker_only: Annotated[bool, typer.Option(help="Listen nowhere; work on what others have kept.")] = False,
    engine: EngineOption = None,
    assignments: SetOption = None,
) -> None:
    """Start the station: the DICOM node, the work behind it, and the HTTP service, in one process."""
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
    destination: Annotated[str, typer.Argument(help="Name of a destination in the rules.")],
    rules_file: Annotated[Path | None, typer.Option("--rules", help="YAML file of the rules.")] = None,
    assignments: SetOption = None,
) -> None:
    """Ask a destination whether it is there: C-ECHO, or a QIDO-RS search; exit code 2 where it is not."""
    from cxrserve.archive.rules import load_rules
    from cxrserve.errors import ConfigurationError
    from cxrserve.pacs.echo import echo as ask

    settings = settings_of(assignments, rules=rules_file)
    peers = load_rules(settings.rules).destinations
    if destination not in peers:
        known = ", ".join(peers) or "none"
        raise ConfigurationError(f"the rules name no destination {destination}; there is: {known}.")
    took_ms = ask(peers[destination], settings.dicom_ae_title)
    Console().print(f"{destination} answers, in {took_ms:.0f} ms")


@pacs.command()
def pull(
    study: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")],
    url: Annotated[str, typer.Option(help="The station that is to fetch it.")] = "http://127.0.0.1:8000",
    assignments: SetOption = None,
) -> None:
    """Have a running station fetch a study from the servers in its rules, and work on it."""
    from cxrserve.pacs.ask import pull as ask

    token = settings_of(assignments).token.get_secret_value()
    Console().print(f"{ask(url, study, token)} objects arrived")
