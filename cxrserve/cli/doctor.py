"""`cxrserve doctor`: shows what this machine has, which engine is used and why, what is missing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from re import match

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cxrserve import __version__
from cxrserve.bundle.contract import load_bundle
from cxrserve.bundle.signature import check_source
from cxrserve.engines import cuda
from cxrserve.engines.select import ENGINES, InstalledName, choose
from cxrserve.errors import CxrserveError
from cxrserve.settings import Settings


def examine(settings: Settings) -> bool:
    """Print the report; True if the service could start with `settings`."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (("cxrserve", __version__), *_machine(settings), *_packages()):
        table.add_row(name, value)
    checks = [_engine(settings), _bundle(settings)]
    for name, detail, passed in checks:
        table.add_row(
            name, f"[{'green' if passed else 'red'}]{'ok' if passed else 'no'}[/]  {escape(detail)}"
        )
    console = Console()
    console.print(table)
    ready = all(passed for _, _, passed in checks)
    console.print("ready to serve: cxrserve serve" if ready else "[red]cannot serve yet[/]: see above")
    return ready


def _machine(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("processor", f"{_cpu_name()}, {settings.threads} of {os.cpu_count()} cores usable"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"),
        ("GPUs", str(cuda.device_count()) if cuda.device_count() else "none"),
        ("sandbox", _sandbox()),
        ("training", "installed" if find_spec("torch") else 'not installed: pip install "cxrserve\\[train]"'),
    ]


def _sandbox() -> str:
    """The parts of the decode workers' sandbox that this machine lacks. A process of its own tries them."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", "cxrserve.imaging.sandbox"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if result.returncode != 0:
        return "[red]could not be tried[/]"
    missing = result.stdout.strip()
    return f"[red]decode workers lack[/] {escape(missing)}" if missing else "complete"


def _cpu_name() -> str:
    for row in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if row.startswith("model name"):
            return row.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _packages() -> list[tuple[str, str]]:
    """Every dependency of the base install, or its variant for GPUs, with the version."""
    versions = []
    for requirement in requires("cxrserve") or []:
        name = match(r"[A-Za-z0-9._-]+", requirement)
        if name is None or "extra ==" in requirement:
            continue
        installed = [package for package in (name.group(), f"{name.group()}-gpu") if _version(package)]
        if installed:
            versions += [(package, _version(package)) for package in installed]
        else:
            versions.append((name.group(), "[red]missing[/]: pip install cxrserve"))
    return versions


def _version(package: str) -> str:
    """Version of an installed package, or an empty string."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _engine(settings: Settings) -> tuple[str, str, bool]:
    try:
        choice = choose(settings.engine, settings.precision)
    except CxrserveError as error:
        return "engine", error.detail, False
    alternatives = ", ".join(_other(name) for name in ENGINES if name != choice.name)
    detail = f"{choice.name} {choice.version} in {choice.precision}: {choice.reason} (others: {alternatives})"
    return "engine", detail, True


def _other(name: InstalledName) -> str:
    try:
        return f"{name} {choose(name, 'auto').version}"
    except CxrserveError as error:
        return f"not {name}: {error.detail.rstrip('.')}"


def _bundle(settings: Settings) -> tuple[str, str, bool]:
    try:
        bundle = check_source(load_bundle(settings.bundle), settings)
    except CxrserveError as error:
        return "bundle", error.detail, False
    contract = bundle.contract
    sizes = "/".join(str(member.size) for member in contract.members)
    gated = [f"{member.size} in bf16" for member in contract.members if member.bf16]
    gated += [
        f"{member.size} in {variant.precision}" for member in contract.members for variant in member.variants
    ]
    detail = f"{settings.bundle}: {contract.name} {contract.version}, {sizes} px"
    return "bundle", detail + (f"; passed their gates: {', '.join(gated)}" if gated else ""), True
