"""Two processes under torchrun, gradients averaged by gloo, against one process with the same steps."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.ddp_fit import CONFIG, fit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes left."""
    folder = tmp_path_factory.mktemp("shared")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("tests/training/ddp_fit.py", str(folder)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
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
