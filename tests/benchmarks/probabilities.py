"""Probabilities, ranking and heatmaps of a bundle on fresh phantoms, through `POST /predict`.

    python -m tests.benchmarks.probabilities score models/demo runs/demo.npz --phantoms 3000
    python -m tests.benchmarks.probabilities tables runs/demo.npz --bundle models/demo

`score` starts `cxrserve serve`, draws each phantom as 12-bit DICOM, posts it with `heatmaps=all`, and keeps
what the answer says; a second call goes on where the first one stopped. `tables` prints Markdown:
calibration error with its interval, AUC of the stack beside voting and every single scale,
and how bright heatmaps are shown.

Legend: N phantoms, F findings, S scales.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import NAMES
from tests.benchmarks.probability_tables import print_tables
from training.phantom import make_phantom
from training.phantom.files import write_dicom

# Phantoms from here on are drawn by no recipe and by no command.
FIRST_SEED: Final = 5_000_000
_SAVE_EVERY: Final = 50
_START_S: Final = 120.0
Row = dict[str, NDArray[np.float64]]


def score(bundle: Path, out: Path, *, phantoms: int, seed: int, workers: int) -> None:
    """Post the phantoms of `phantoms` seeds from `seed` on to a server with `bundle`, and write `out`."""
    rows = _read(out)
    pending = [number for number in range(seed, seed + phantoms) if number not in rows]
    with _served(bundle) as url, ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for count, (number, row) in enumerate(pool.map(partial(_ask, url), pending), 1):
            rows[number] = row
            if count % _SAVE_EVERY == 0 or count == len(pending):
                _write(out, rows)
                print(f"{len(rows)} of {phantoms}", file=sys.stderr)


def _ask(url: str, number: int) -> tuple[int, Row]:
    phantom = make_phantom(number)
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        write_dicom(Path(file.name), phantom)
        body = Path(file.name).read_bytes()
    answer = httpx.post(f"{url}/predict", params={"heatmaps": "all"}, content=body, timeout=300)
    if answer.status_code != 200:
        return number, {"labels": phantom.labels_F.astype(np.float64), "refused": np.array(1.0)}
    return number, {
        "labels": phantom.labels_F.astype(np.float64),
        "refused": np.array(0.0),
        **_row(answer.json()["findings"]),
    }


def _row(findings: list[dict[str, Any]]) -> Row:
    assert [finding["finding"] for finding in findings] == list(NAMES)
    maps = [finding["heatmap"] or {} for finding in findings]
    return {
        "probability": np.array([finding["probability"] for finding in findings], np.float64),
        "score": np.array([finding["score"] for finding in findings], np.float64),
        "positive": np.array([finding["positive"] for finding in findings], np.float64),
        "logit": np.array([[scale["logit"] for scale in finding["scales"]] for finding in findings]),
        "weight": np.array([[scale["weight"] for scale in finding["scales"]] for finding in findings]),
        "map": np.array([shown.get("max", np.nan) for shown in maps], np.float64),
        "full": np.array([shown.get("scale", np.nan) for shown in maps], np.float64),
        "root": np.array([shown.get("curve") == "square-root" for shown in maps], np.float64),
    }


@contextmanager
def _served(bundle: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cxrserve", "serve", "--bundle", str(bundle), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit("cxrserve serve ended before it was ready; start it by hand to see why")
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"cxrserve serve was not ready within {_START_S:g} s")


def _write(out: Path, rows: dict[int, Row]) -> None:
    answered = {number: row for number, row in sorted(rows.items()) if not row["refused"]}
    arrays: dict[str, Any] = {
        key: np.stack([row[key] for row in answered.values()]) for key in next(iter(answered.values()))
    }
    partial_file = out.with_suffix(".part.npz")
    refused = [number for number, row in rows.items() if row["refused"]]
    np.savez_compressed(
        partial_file, seed=np.array(list(answered)), refused_seeds=np.array(refused), **arrays
    )
    partial_file.replace(out)


def _read(out: Path) -> dict[int, Row]:
    if not out.exists():
        return {}
    with np.load(out) as stored:
        arrays = {key: stored[key] for key in stored.files if key not in ("seed", "refused_seeds")}
        rows = {
            int(number): {key: array[row] for key, array in arrays.items()}
            for row, number in enumerate(stored["seed"])
        }
        for number in stored["refused_seeds"].tolist():
            rows[int(number)] = {"refused": np.array(1.0)}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score")
    scoring.add_argument("bundle", type=Path)
    scoring.add_argument("out", type=Path)
    scoring.add_argument("--phantoms", type=int, default=3000)
    scoring.add_argument("--seed", type=int, default=FIRST_SEED)
    scoring.add_argument("--workers", type=int, default=2)
    tables = commands.add_parser("tables")
    tables.add_argument("scored", type=Path, nargs="+")
    tables.add_argument("--bundle", type=Path, help="Undo its members' calibration for voting and scales.")
    arguments = parser.parse_args()
    if arguments.command == "score":
        score(
            arguments.bundle,
            arguments.out,
            phantoms=arguments.phantoms,
            seed=arguments.seed,
            workers=arguments.workers,
        )
    else:
        print_tables(arguments.scored, arguments.bundle)


if __name__ == "__main__":
    main()
