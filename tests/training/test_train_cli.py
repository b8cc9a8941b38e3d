"""`cxrserve train` as people run it: a process, killed and resumed, whose bundle then serves."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from cxrserve.settings import Settings
from tests.servers import running
from training.phantom import make_phantom, write_jpeg

SMALL = {
    "preprocessing.sizes": "64,128",
    "data.training": "32",
    "data.validation": "24",
    "data.test": "24",
    "data.first_seed": "30000",
    "fits.*.epochs": "3",
    "fits.*.crop_epochs": "3",
    "fits.*.crop_pixels": "64",
    "fits.*.batch": "8",
    "fits.*.crop_batch": "8",
    "fits.*.augment.shift_cells": "2",
}
PATIENCE_S = 500.0
# Six starts of a process that imports torch; a busy machine takes its time.
pytestmark = pytest.mark.timeout(600)
# Where the run is killed: once it has begun this, and some random moment later.
BEGUN = ("training/state.npy", "fold_1/seed_0/fit_*/last.ckpt", "fold_1/seed_0/stack/stamp.json")


def command(folder: Path, *more: str) -> list[str]:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    places = ["--work", str(folder / "work"), "--out", str(folder / "bundle")]
    program = [sys.executable, "-m", "cxrserve", "train", *more]
    return [*program, "--recipe", "demo", *places, "--workers", "2", "--report", "brief", *sets]


def finish(folder: Path) -> str:
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def kill_after(folder: Path, begun: str, later_s: float) -> bool:
    """Start the run and kill it `later_s` after it has `begun`; false if it was done before."""
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_S
        while not any((folder / "work").glob(begun)) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(later_s)
    finally:
        process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that nobody disturbed, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, finish(folder)


def test_without_a_terminal_it_says_plain_lines_and_the_result(whole: tuple[Path, str]) -> None:
    _, said = whole
    assert "draw training phantoms (32)" in said
    assert "fit 128, fold 1, seed 0: 6 epochs" in said
    assert "Cardiomegaly" in said
    assert "\x1b[" not in said


def test_killed_at_random_moments_it_ends_in_the_same_bundle(whole: tuple[Path, str], tmp_path: Path) -> None:
    undisturbed, _ = whole
    chance = random.Random()
    moments = [chance.uniform(0, 1.5) for _ in BEGUN]
    killed = [kill_after(tmp_path, begun, later_s) for begun, later_s in zip(BEGUN, moments, strict=True)]
    assert any(killed), moments
    finish(tmp_path)
    one, other = (
        json.loads((folder / "bundle" / "bundle.json").read_text(encoding="utf-8"))
        for folder in (undisturbed, tmp_path)
    )
    for contract in (one, other):
        contract["lineage"].pop("created")
    assert [member["sha256"] for member in one["members"]] == [
        member["sha256"] for member in other["members"]
    ]
    assert one == other, moments


def test_the_bundle_answers_post_predict(whole: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = whole
    write_jpeg(tmp_path / "film.jpg", make_phantom(31_000))
    settings = Settings(bundle=folder / "bundle", port=0, threads=1, decode_workers=1)
    with running(settings) as server:
        answer = httpx.post(f"{server.url}/predict", content=(tmp_path / "film.jpg").read_bytes(), timeout=60)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["findings"]) == 14


def test_a_second_run_does_nothing_again(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (folder / "bundle").iterdir()}
    said = finish(folder)
    assert "epochs" not in said
    assert "draw" not in said
    assert {path: path.stat().st_mtime_ns for path in (folder / "bundle").iterdir()} == before


def test_two_runs_in_one_work_folder_are_refused(tmp_path: Path) -> None:
    first = subprocess.Popen(command(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE_S
        while not (tmp_path / "work" / "training").exists():
            assert time.monotonic() < until
            assert first.poll() is None
            time.sleep(0.05)
        second = subprocess.run(
            command(tmp_path, "prepare"), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert "another run is at work" in second.stderr
