"""`cxrserve doctor`: what this machine has, which engine will serve and why, what is missing."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from re import match

from rich.console import Console
from rich.table import Table

from cxrserve import __version__
from cxrserve.engines import cuda
from cxrserve.engines.select import ENGINES, InstalledName, choose
from cxrserve.ensemble.bundle import load_bundle
from cxrserve.errors import CxrserveError
from cxrserve.settings import Settings


def examine(settings: Settings) -> bool:
    """Print what there is; True where the service could start with `settings`."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for what, found in (("cxrserve", __version__), *_machine(settings), *_packages()):
        table.add_row(what, found)
    checks = [_engine(settings), _bundle(settings)]
    for what, found, fine in checks:
        table.add_row(what, f"[{'green' if fine else 'red'}]{'ok' if fine else 'no'}[/]  {found}")
    console = Console()
    console.print(table)
    able = all(fine for _, _, fine in checks)
    console.print("ready to serve: cxrserve serve" if able else "[red]cannot serve yet[/]: see above")
    return able


def _machine(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("processor", f"{_cpu_name()}, {settings.threads} of {os.cpu_count()} cores usable"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"),
        ("GPUs", str(cuda.device_count()) if cuda.device_count() else "none"),
        ("training", "installed" if find_spec("torch") else 'not installed: pip install "cxrserve\\[train]"'),
    ]


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _packages() -> list[tuple[str, str]]:
    """Every dependency of the base install, with its version; or what is installed in its place for GPUs."""
    found = []
    for requirement in requires("cxrserve") or []:
        name = match(r"[A-Za-z0-9._-]+", requirement)
        if name is None or "extra ==" in requirement:
            continue
        stands_in = [each for each in (name.group(), f"{name.group()}-gpu") if _version(each)]
        if stands_in:
            found += [(each, _version(each)) for each in stands_in]
        else:
            found.append((name.group(), "[red]missing[/]: pip install cxrserve"))
    return found


def _version(package: str) -> str:
    """Of an installed package; nothing where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _engine(settings: Settings) -> tuple[str, str, bool]:
    try:
        choice = choose(settings.engine, settings.precision)
    except CxrserveError as error:
        return "engine", error.detail, False
    others = ", ".join(_other(name) for name in ENGINES if name != choice.name)
    detail = f"{choice.name} {choice.version} in {choice.precision}: {choice.reason} (others: {others})"
    return "engine", detail, True


def _other(name: InstalledName) -> str:
    try:
        return f"{name} {choose(name, 'auto').version}"
    except CxrserveError as error:
        return f"not {name}: {error.detail.rstrip('.')}"


def _bundle(settings: Settings) -> tuple[str, str, bool]:
    try:
        bundle = load_bundle(settings.bundle)
    except CxrserveError as error:
        return "bundle", error.detail, False
    contract = bundle.contract
    sizes = "/".join(str(member.size) for member in contract.members)
    gated = [f"{member.size} in bf16" for member in contract.members if member.bf16]
    gated += [f"{member.size} in {each.precision}" for member in contract.members for each in member.variants]
    detail = f"{settings.bundle}: {contract.name} {contract.version}, {sizes} px"
    return "bundle", detail + (f"; passed their gates: {', '.join(gated)}" if gated else ""), True
