"""From start to end: alive at once, ready when it is, and gone with a reason where it cannot serve."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.bundle.contract import CONTRACT_FILE, read_contract
from cxrserve.pipeline.pipeline import Pipeline
from tests.api import raw
from tests.api.conftest import check_problem
from tests.conftest import MakeSettings, Serve
from tests.servers import Running, running

_START = """
from cxrserve.api.server import serve
from cxrserve.settings import Settings
raise SystemExit(serve(Settings()))
"""


@contextlib.contextmanager
def started(bundle: Path) -> Iterator[subprocess.Popen[str]]:
    """`serve` in a process of its own, which does not outlive the block."""
    settings = {
        "BUNDLE": str(bundle),
        "PORT": "0",
        "THREADS": "1",
        "DECODE_WORKERS": "1",
        "MAX_WAIT_S": "1000",  # on a busy machine a few large images are more than ten seconds' work
    }
    with subprocess.Popen(
        [sys.executable, "-c", _START],
        env={**os.environ, **{f"CXRSERVE_{name}": value for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_alive_before_it_is_ready(make_settings: MakeSettings, chest_jpeg: bytes) -> None:
    with running(make_settings(), until_ready=False) as starting:
        assert httpx.get(f"{starting.url}/healthz").json() == {"status": "alive"}
        # The engines take longer to build than these requests; where they do not, nothing is left to show.
        early = [httpx.get(f"{starting.url}/readyz"), httpx.get(f"{starting.url}/model")]
        early.append(httpx.post(f"{starting.url}/predict", content=chest_jpeg))
        for response in early:
            if response.status_code != 200:
                check_problem(response, 503, "not-ready")
        assert early[0].status_code == 503
        until = time.monotonic() + 60
        while httpx.get(f"{starting.url}/readyz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert httpx.get(f"{starting.url}/readyz").json() == {"status": "ready"}
        assert httpx.post(f"{starting.url}/predict", content=chest_jpeg).status_code == 200


def test_the_model_shows_its_contract(client: httpx.Client, tiny_bundle: Path) -> None:
    model = client.get("/model").json()
    contract, sha256 = read_contract(tiny_bundle)
    engine = model.pop("engine")
    assert model.pop("sha256") == sha256
    assert model.pop("report") is None, "the tiny bundle brings no report.html"
    assert model.pop("site") is None
    assert model == json.loads(contract.model_dump_json())
    assert engine["name"] in ("openvino", "onnxruntime")
    assert engine["precision"] in ("f32", "bf16")
    assert engine["version"]


def test_a_pipeline_that_is_brought_stays_open(make_settings: MakeSettings, chest_jpeg: bytes) -> None:
    settings = make_settings()
    with Pipeline(settings) as pipeline:
        server = Server(create_app(settings, pipeline), settings)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        assert httpx.get(f"{server.address}/readyz").status_code == 200
        server.should_exit = True
        thread.join(30)
        assert pipeline.read(chest_jpeg).prediction.probabilities_F.shape == (14,)


def test_it_says_where_it_listens_and_stops_in_order(tiny_bundle: Path, chest_jpeg: bytes) -> None:
    with started(tiny_bundle) as process:
        assert process.stdout is not None
        ready, pages, hint, phantoms = (process.stdout.readline() for _ in range(4))
        found = re.fullmatch(
            r"cxrserve \S+ is ready on (http://127\.0\.0\.1:\d+) with tiny 1\.0\.0 \(engine \w+ \w+\)\n",
            ready,
        )
        assert found is not None, ready
        assert pages == f"Viewer: {found[1]}/  API: {found[1]}/docs\n"
        assert hint == f'Try: curl -F file=@FILE "{found[1]}/predict?heatmaps=none"\n'
        assert "`cxrserve phantoms films/`" in phantoms
        assert httpx.post(f"{found[1]}/predict", content=chest_jpeg).status_code == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == ""
    assert "Traceback" not in err


def test_sigterm_lets_accepted_requests_finish(tiny_bundle: Path, chest_jpeg: bytes) -> None:
    with started(tiny_bundle) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().split("127.0.0.1:")[1].split()[0])
        with raw.connected(port) as peer:
            peer.sendall(raw.head(f"Content-Length: {len(chest_jpeg)}") + chest_jpeg[:100])
            time.sleep(0.3)
            process.terminate()
            time.sleep(0.3)
            peer.sendall(chest_jpeg[100:])
            assert raw.status(peer) == 200
        process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)


def test_shutdown_does_not_wait_for_ever(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.ExitStack() as peers:
        with caplog.at_level(logging.INFO), serve(shutdown_timeout_s=1) as running:
            peer = peers.enter_context(raw.connected(running.port))
            peer.sendall(raw.head("Content-Length: 1000") + b"only this")
            time.sleep(0.3)
            ending = time.monotonic()
        assert time.monotonic() - ending < 10
    [line] = [each.getMessage() for each in caplog.records if each.name == "cxrserve.audit"]
    assert "outcome=cut-off" in line


@pytest.mark.parametrize("damage", ["no folder", "a changed member", "a contract of another order"])
def test_a_bundle_that_does_not_hold_stops_the_server(tiny_bundle: Path, tmp_path: Path, damage: str) -> None:
    bundle = tmp_path / "bundle"
    if damage != "no folder":
        shutil.copytree(tiny_bundle, bundle)
    if damage == "a changed member":
        (bundle / "scale_64.onnx").write_bytes(b"changed")
    if damage == "a contract of another order":
        contract = json.loads((bundle / CONTRACT_FILE).read_text())
        contract["findings"].reverse()
        (bundle / CONTRACT_FILE).write_text(json.dumps(contract))
    with started(bundle) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert "cxrserve cannot serve: " in err
    assert str(bundle) in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_stops_the_server(server: Running, make_settings: MakeSettings) -> None:
    with pytest.raises(SystemExit):
        Server(create_app(make_settings()), make_settings(port=server.port)).run()


def test_more_connections_than_there_is_room_for(serve: Serve) -> None:
    """Idle ones of the same address are closed instead of the newest being refused."""
    with serve(max_connections_per_address=40) as crowded, contextlib.ExitStack() as peers:
        held = [peers.enter_context(raw.connected(crowded.port)) for _ in range(1000)]
        for path in ("/healthz", "/readyz", "/model"):
            assert httpx.get(crowded.url + path).status_code == 200
        assert raw.status(held[0]) == 0, "the oldest was closed"
        assert len(crowded.server.server_state.connections) <= 40


def test_connections_of_one_address_that_are_all_busy(serve: Serve) -> None:
    """More requests of that address are refused; its probes and all other addresses are answered."""
    with serve(max_connections_per_address=4, max_waiting=20) as crowded, contextlib.ExitStack() as peers:
        for _ in range(4):
            peer = peers.enter_context(raw.connected(crowded.port))
            peer.sendall(raw.head("Content-Length: 1000"))
            peer.sendall(b"1")
        time.sleep(0.5)
        check_problem(httpx.get(f"{crowded.url}/model"), 503, "overloaded")
        assert httpx.get(f"{crowded.url}/healthz").status_code == 200
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
            assert other.get(f"{crowded.url}/model").status_code == 200
