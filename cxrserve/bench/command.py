"""`cxrserve bench`: load on this machine's service, with figures to publish."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from cxrserve import __version__
from cxrserve.bench import report
from cxrserve.bench.measure import Measured, Plan, bare_engine, films_of, measure
from cxrserve.bench.service import Started, cxrserve, free_port, started
from cxrserve.settings import Settings


def bench(
    paths: Sequence[Path], settings: Settings, plan: Plan, *, url: str | None, output: Path | None
) -> None:
    """Measure, print, and write the figures as JSON where `output` says so.

    Args:
        url: of a service that runs already; otherwise one is started with `settings`.

    Raises:
        RequestError, ConfigurationError: nothing could be measured; says why.
    """
    console = Console(stderr=True)
    files = films_of(paths)
    images = [file.read_bytes() for file in files]
    bare = None
    if url is None:
        console.print(f"the engines alone, {plan.seconds:.0f} s")
        bare = bare_engine(settings.bundle, files[0], plan.seconds)
    with _service(settings, url) as service:
        measured = measure(
            service, "cxrserve" if url is None else url, images, plan, lambda what, s: _say(console, what, s)
        )
    show(Console(), [measured], bare)
    if output is not None:
        facts = {
            "cxrserve": __version__,
            "films": len(images),
            "bare": bare,
            "services": [measured.as_json()],
        }
        output.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _service(settings: Settings, url: str | None) -> Iterator[Started]:
    if url is not None:
        yield Started(url=url, ready_s=float("nan"), pid=0)
        return
    port = free_port()
    options = [part for name, value in changed(settings).items() for part in ("--set", f"{name}={value}")]
    with started(cxrserve(settings.bundle, port, *options), port=port, ready="/readyz") as service:
        yield service


def changed(settings: Settings) -> dict[str, object]:
    """Settings that are not as they come, but for the address."""
    usual, values = Settings().model_dump(), settings.model_dump()
    return {
        name: value
        for name, value in values.items()
        if value != usual[name] and name not in {"bundle", "host", "port"}
    }


def show(console: Console, measured: Sequence[Measured], bare: dict[str, float] | None) -> None:
    """Print the tables."""
    if bare:
        console.print(f"the engines alone: {bare['images_per_s']:.2f} images/s")
    console.print(report.overview(measured, bare))
    for service in measured:
        if service.stages:
            console.print(report.stages(service))
        if service.levels:
            console.print(report.levels(service))


def _say(console: Console, what: str, seconds: float) -> None:
    console.print(f"{what}, {seconds:.0f} s")
