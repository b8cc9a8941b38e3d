"""Options shared by several commands, and the settings made from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import SecretStr, ValidationError

from cxrserve.settings import EngineName, Settings, unknown_variables

BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of the model bundle.", envvar="CXRSERVE_BUNDLE")
]
EngineOption = Annotated[
    EngineName | None, typer.Option(help="Inference engine; auto selects the fastest that is installed.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting; `cxrserve settings` lists them."),
]

_SECRETS: Final = frozenset(
    name for name, field in Settings.model_fields.items() if field.annotation is SecretStr
)
# The demo bundle of a clone, so that commands find it from any folder.
_DEMO: Final = Path(__file__).resolve().parents[2] / "models" / "demo"


def settings_of(assignments: list[str] | None, **flags: object) -> Settings:
    """Build the settings: flags win over --set, and --set over the environment.

    Raises:
        typer.BadParameter: a setting that does not exist, an invalid value, or a secret on the command line.
    """
    if unknown := unknown_variables(os.environ):
        raise typer.BadParameter(f"no such setting: {', '.join(unknown)}; `cxrserve settings` lists them")
    values: dict[str, object] = {}
    for assignment in assignments or []:
        name, equals, value = assignment.partition("=")
        name = name.strip().lower().removeprefix("cxrserve_")
        if not equals or name not in Settings.model_fields:
            raise typer.BadParameter(f"--set {assignment!r}: NAME=VALUE with a NAME of `cxrserve settings`")
        if name in _SECRETS:
            raise typer.BadParameter(
                f"--set {name}: every user of this machine can read a command line. Name a file in "
                f"CXRSERVE_{name.upper()}_FILE, or set CXRSERVE_{name.upper()}"
            )
        values[name] = value
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        settings = Settings.model_validate(values)
        if "bundle" not in settings.model_fields_set and not settings.bundle.exists() and _DEMO.is_dir():
            settings = Settings.model_validate({**values, "bundle": _DEMO})
        return settings
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}{_not_input(fault)}"
            for fault in error.errors()
        )
        raise typer.BadParameter(f"settings (CXRSERVE_* or flags): {faults}") from None


def _not_input(fault: Any) -> str:
    """The wrong value, for a message; "" where it is a secret, or all settings together."""
    is_known = fault["loc"] and fault["loc"][0] not in _SECRETS
    return f", not {str(fault['input'])[:60]!r}" if is_known else ""
