"""Options that several commands have, and the settings that they make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from cxrserve.settings import EngineName, Settings, unknown_variables

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of the model bundle.", envvar="CXRSERVE_BUNDLE")
]
EngineOption = Annotated[
    EngineName | None, typer.Option(help="Inference engine; auto takes the fastest that is installed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; `cxrserve settings` lists them."),
]


def settings_of(assignments: list[str] | None, **flags: object) -> Settings:
    """Settings from the environment, then --set, then flags.

    Raises:
        typer.BadParameter: a setting that does not exist, or a value it cannot take.
    """
    if unknown := unknown_variables(os.environ):
        raise typer.BadParameter(f"no such setting: {', '.join(unknown)}; `cxrserve settings` lists them")
    values: dict[str, object] = {}
    for assignment in assignments or []:
        name, equals, value = assignment.partition("=")
        name = name.strip().lower().removeprefix("cxrserve_")
        if not equals or name not in Settings.model_fields:
            raise typer.BadParameter(f"--set {assignment!r}: NAME=VALUE with a NAME of `cxrserve settings`")
        values[name] = value
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, not {str(fault['input'])[:60]!r}"
            for fault in error.errors()
        )
        raise typer.BadParameter(f"settings (CXRSERVE_* or flags): {faults}") from None
