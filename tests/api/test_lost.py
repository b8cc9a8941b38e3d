"""A GPU that fails for good: 503, no longer ready, and the service ends so that it is started again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cxrserve.api.app import create_app
from cxrserve.errors import EngineLost
from cxrserve.pipeline.pipeline import Pipeline
from tests.api.conftest import check_problem
from tests.conftest import MakeSettings

# The real service; only the engine fails as one on a GPU does, at its first image after the warm-up.
_START = """
from cxrserve.engines import cuda
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine

run, runs = OnnxRuntimeEngine.run, []


def failing(self, images):
    runs.append(len(images))
    if len(runs) > 4:
        cuda.check("cudaGraphLaunch", 700, lambda _: "an illegal memory access was encountered")
    return run(self, images)


OnnxRuntimeEngine.run = failing

from cxrserve.api.server import serve
from cxrserve.settings import Settings

raise SystemExit(serve(Settings()))
"""


def test_the_service_ends_with_the_reason(tiny_bundle: Path, chest_jpeg: bytes) -> None:
    settings = {
        "BUNDLE": str(tiny_bundle),
        "ENGINE": "onnxruntime",
        "PORT": "0",
        "THREADS": "1",
        "DECODE_WORKERS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", _START],
        env={**os.environ, **{f"CXRSERVE_{name}": value for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().split("127.0.0.1:")[1].split()[0])
            answer = httpx.post(f"http://127.0.0.1:{port}/predict", content=chest_jpeg, timeout=60)
            check_problem(answer, 503, "engine-lost")
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 2
    assert "an illegal memory access was encountered (CUDA error 700)" in err
    assert "Traceback" not in err


def test_it_is_not_ready_any_more(
    make_settings: MakeSettings, chest_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    with Pipeline(settings) as pipeline:
        app = create_app(settings, pipeline)

        async def asked(path: str) -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.get(path)

        assert asyncio.run(asked("/readyz")).status_code == 200

        def lost(image_N1SS: object) -> None:
            raise EngineLost("the GPU failed: start again.")

        monkeypatch.setattr(pipeline.predictor.engines[64], "run", lost)
        with pytest.raises(EngineLost):
            pipeline.read(chest_jpeg)
        check_problem(asyncio.run(asked("/readyz")), 503, "engine-lost")
        assert asyncio.run(asked("/healthz")).status_code == 200
