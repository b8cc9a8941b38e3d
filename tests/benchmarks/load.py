"""Compares cxrserve with other servers under the same load, in one run on one machine.

`python -m tests.benchmarks.load --peers VENV`, where VENV has been made with
`pip install litserve "ray[serve]" bentoml onnxruntime opencv-python-headless pydicom`. Native-size phantoms
as JPEG and as DICOM, the full-size bundle, open-loop load. Writes a dated note with figures and a picture.
Needs an hour or so on a quiet machine; `--seconds 10` for a first look.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from cxrserve.bench.command import show
from cxrserve.bench.load import Spacing
from cxrserve.bench.measure import Measured, Plan, bare_engine, measure
from cxrserve.bench.service import cxrserve, free_port, started
from tests.benchmarks.load_figure import draw
from tests.benchmarks.main_job import NOTES, WORK, cpu, full_size_bundle
from tests.benchmarks.published_networks import export_networks
from tests.benchmarks.radiographs import native_images

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A service to start: its command, where it tells that it is ready, and where films go."""

    name: str
    command: Sequence[str]
    path: str
    ready: str
    ready_body: bytes | None


def peers(venv: Path, networks: Path, film: bytes, port: int) -> list[Peer]:
    """(a) to (d): torch eager, LitServe, Ray Serve, BentoML, the last three on ONNX Runtime.

    They have the same networks as torchvision lays them out, and owe no heatmaps. Each is called ready by its
    first answer to a film: none has another way to say that it is.
    """
    python = str(venv / "bin" / "python")
    commands = {
        "FastAPI + torch eager": [sys.executable, "-m", "tests.benchmarks.peers.fastapi_torch"],
        "LitServe + ONNX Runtime": [python, str(PEERS / "litserve_onnx.py")],
        "Ray Serve + ONNX Runtime": [python, str(PEERS / "ray_onnx.py")],
        "BentoML + ONNX Runtime": [
            "/usr/bin/env",
            f"BUNDLE={networks}",
            str(venv / "bin" / "bentoml"),
            "serve",
        ],
    }
    options = {
        "BentoML + ONNX Runtime": [
            "bentoml_onnx:Service",
            "--working-dir",
            str(PEERS),
            "--port",
            str(port),
        ]
    }
    return [
        Peer(
            name=name,
            command=[*command, *options.get(name, [str(networks), str(port)])],
            path="/predict",
            ready="/predict",
            ready_body=film,
        )
        for name, command in commands.items()
    ]


def main(venv: Path | None, int8: Path | None, seconds: float, arrivals: Spacing) -> None:
    """Measure all of them, print the tables, write the note.

    Args:
        int8: the same bundle with variants by `cxrserve models quantize`.
    """
    console = Console()
    bundle, films = full_size_bundle().resolve(), native_images(WORK / "native")
    data = [film.read_bytes() for film in films]

    def told(what: str, part_s: float) -> None:
        console.print(f"{what}, {part_s:.0f} s", style="dim")

    bare = bare_engine(bundle, films[0], seconds)
    measured: list[Measured] = []
    port = free_port()
    with started(cxrserve(bundle, port), port=port, ready="/readyz") as service:
        measured.append(measure(service, "cxrserve", data, Plan(seconds=seconds, spacing=arrivals), told))
        heatmaps = Plan(seconds=seconds, path="/predict?heatmaps=all", shares=())
        measured.append(measure(service, "cxrserve, 14 heatmaps", data, heatmaps, told))
    if int8:
        with started(cxrserve(int8.resolve(), port), port=port, ready="/readyz") as service:
            measured.append(measure(service, "cxrserve, int8", data, Plan(seconds=seconds, shares=()), told))
    plain = export_networks(WORK / "plain", bundle).resolve() if venv else bundle
    for peer in peers(venv, plain, data[0], port) if venv else []:
        with started(peer.command, port=port, ready=peer.ready, body=peer.ready_body) as service:
            measured.append(measure(service, peer.name, data, Plan(seconds=seconds, shares=()), told))
    show(console, measured, bare)
    _write(measured, bare, films, arrivals)


def _write(measured: list[Measured], bare: dict[str, float], films: list[Path], arrivals: Spacing) -> None:
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{cpu()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "films": [f"{film.name}, {film.stat().st_size / 1e6:.1f} MB" for film in films],
        "arrivals": arrivals,
        "bare": bare,
        "services": [one.as_json() for one in measured],
    }
    note = NOTES / f"load-{result['date']}.json"
    note.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, note.with_suffix(".png"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="virtual environment of the peers")
    parser.add_argument("--int8", type=Path, help="the bundle with variants in int8")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each level")
    parser.add_argument("--arrivals", choices=("poisson", "even"), default="poisson")
    arguments = parser.parse_args()
    main(arguments.peers, arguments.int8, arguments.seconds, arguments.arrivals)
