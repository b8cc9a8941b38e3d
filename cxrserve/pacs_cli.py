"""`cxrserve pacs …`: the rules and the queue; the node's own commands join this group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

pacs = typer.Typer(help="The DICOM node: serve it, its rules, its queue.", no_args_is_help=True)
rules = typer.Typer(help="The rules for received objects.", no_args_is_help=True)
queue = typer.Typer(help="What waits to be delivered, and dead letters.", no_args_is_help=True)
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
