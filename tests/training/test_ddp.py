"""Two processes under torchrun, gradients averaged by gloo, against one process with the same steps.

Once as two processes of one node, and once as two nodes of one process each: two torchruns that meet at an
address, as on two machines, here on loopback.
"""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.ddp_fit import CONFIG, fit

ROOT = Path(__file__).parents[2]


PROGRAM = "tests/training/ddp_fit.py"


def torchrun(folder: Path, *options: str) -> subprocess.Popen[str]:
    """One node of a fit in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, PROGRAM, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(nodes: list[subprocess.Popen[str]]) -> list[str]:
    """The output of each node, once all have ended well."""
    try:
        said = [node.communicate(timeout=240)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0] * len(nodes), "\n".join(each[-3000:] for each in said)
    return said


@pytest.fixture(scope="module")
def on_one_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes of one node left."""
    folder = tmp_path_factory.mktemp("shared")
    (said,) = finished([torchrun(folder, "--standalone", "--nproc-per-node", "2")])
    assert said.count("devices=2, nodes=1") == 2
    return folder


@pytest.fixture(scope="module")
def on_two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two nodes of one process each left."""
    folder = tmp_path_factory.mktemp("nodes")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meeting = ("--rdzv-backend", "c10d", "--rdzv-id", "fit", "--rdzv-endpoint", f"127.0.0.1:{port}")
    options = ("--nnodes", "2", "--nproc-per-node", "1", "--local-addr", "127.0.0.1", *meeting)
    for said in finished([torchrun(folder, *options) for _ in range(2)]):
        assert said.count("devices=1, nodes=2") == 1
    return folder


@pytest.fixture(params=["on_one_node", "on_two_nodes"])
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder that two processes left, on one node and on two."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


def test_two_processes_come_to_the_losses_and_weights_of_one(shared: Path, tmp_path: Path) -> None:
    result = fit(tmp_path, CONFIG)
    with (shared / "images" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.epochs) == 2
    for row, epoch in zip(rows, result.epochs, strict=True):
        assert float(row["image_loss"]) == pytest.approx(epoch.image_loss, rel=1e-4)
        assert float(row["location_loss"]) == pytest.approx(epoch.location_loss, rel=1e-4)
        assert float(row["learning_rate"]) == pytest.approx(epoch.learning_rate, rel=1e-4)
    alone, together = load_file(result.weights), load_file(shared / "images" / "weights.safetensors")
    assert alone.keys() == together.keys()
    learnt = [name for name in alone if "running" not in name and "num_batches" not in name]
    largest = max(float((alone[name] - together[name]).abs().max()) for name in learnt)
    # Two epochs at 1e-3 move weights by some thousandths.
    assert largest < 1e-5


def test_running_statistics_are_those_of_the_first_process(shared: Path, tmp_path: Path) -> None:
    """One process that accumulates sees every batch, each of two sees half of them."""
    alone = load_file(fit(tmp_path, CONFIG).weights)
    together = load_file(shared / "images" / "weights.safetensors")
    (seen,) = {int(alone[name]) for name in alone if "num_batches" in name}
    (half,) = {int(together[name]) for name in together if "num_batches" in name}
    assert seen == 2 * half


def test_crops_are_shared_too(shared: Path) -> None:
    with (shared / "crops" / "metrics.csv").open(encoding="utf-8") as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["crops", "images"]
