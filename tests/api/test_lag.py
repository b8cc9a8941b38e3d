"""The event loop's lag while large files are uploaded and read: it never blocks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests import radiographs

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _sampling(*arguments: str, **settings: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.api.sampled_server", *arguments],
        env={**os.environ, **{f"CXRSERVE_{name.upper()}": str(value) for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _p99(process: subprocess.Popen[str], started: float, ended: float) -> float:
    """End the process; the 99th percentile of its lag in between, in seconds."""
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[0]
    lags = [lag for at, lag in json.loads(told.splitlines()[-1]) if started <= at <= ended]
    assert len(lags) > 50
    return float(np.percentile(lags, 99))


@pytest.mark.parametrize("form", [False, True])
def test_the_loop_never_blocks_under_upload(tiny_bundle: Path, form: bool) -> None:
    """20 uploads of 10 MB, eight at a time: p99 of the lag stays below 100 ms.

    On a machine that others keep busy, a loop that does nothing at all waits, too; it is sampled beside ours,
    and the bound moves with it. On a quiet one that is about a millisecond.
    """
    film = radiographs.dicom(2300, 2300)
    assert len(film) > 10 * 10**6
    with (
        _sampling(bundle=tiny_bundle, port=0, threads=1, decode_workers=2) as serving,
        _sampling("--bare") as bare,
    ):
        assert serving.stdout is not None
        port = serving.stdout.readline().split("127.0.0.1:")[1].split()[0]

        def upload(_: int) -> int:
            sent = {"files": {"file": ("x", film)}} if form else {"content": film}
            url = f"http://127.0.0.1:{port}/predict?heatmaps=all"
            return httpx.post(url, timeout=120, **sent).status_code

        with ThreadPoolExecutor(8) as threads:
            started = time.time()
            assert set(threads.map(upload, range(20))) == {200}
            ended = time.time()
        lag_s, machines_s = _p99(serving, started, ended), _p99(bare, started, ended)
    assert lag_s < 0.1 + 4 * machines_s
