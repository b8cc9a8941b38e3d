"""`cxrserve train` as people run it: a process, killed and resumed, whose bundle then serves."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cxrserve.bundle.contract import read_contract
from cxrserve.cli.main import app
from cxrserve.settings import Settings
from tests.servers import running
from tests.trained import PATIENCE_S, arguments, command, finish
from training.phantom import make_phantom, write_jpeg
from training.steps.lock import alone_in

# Six starts of a process that imports torch; a busy machine takes its time.
pytestmark = pytest.mark.timeout(1800)
# Where the run is killed: once it has begun this, and some random moment later.
BEGUN = ("data/training/state.npy", "fold_1/seed_0/fit_*/last.ckpt")


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
def whole(trained: tuple[Path, str]) -> tuple[Path, str]:
    """A run that nobody disturbed, and what it printed."""
    return trained


def test_without_a_terminal_it_says_plain_lines_and_the_result(whole: tuple[Path, str]) -> None:
    _, said = whole
    assert "draw training phantoms (16)" in said
    assert "fit 128, fold 1, seed 0: 3 epochs" in said
    assert "Cardiomegaly" in said
    assert "\x1b[" not in said


def test_killed_at_random_moments_it_ends_in_the_same_bundle(whole: tuple[Path, str], tmp_path: Path) -> None:
    undisturbed, _ = whole
    chance = random.Random()
    moments = [chance.uniform(0, 0.7) for _ in BEGUN]
    killed = [kill_after(tmp_path, begun, later_s) for begun, later_s in zip(BEGUN, moments, strict=True)]
    assert any(killed), moments
    finish(command(tmp_path))
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


def test_early_decisions_come_with_the_bundle_and_are_checked_on_the_test_images(
    whole: tuple[Path, str],
) -> None:
    early = read_contract(whole[0] / "bundle")[0].triage
    assert early is not None
    assert early.fitted_on == "40 validation phantoms"
    assert early.data == "6 held-out phantoms, one a patient"
    assert len(early.arithmetics) == 1
    found = {check.guarantee: check for check in early.checked if check.findings == "all"}
    assert {check.data for check in found.values()} == {"6 held-out phantoms, one a patient, others"}
    assert found["exact"].differing == 0


def test_a_second_run_does_nothing_again(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (folder / "bundle").iterdir()}
    again = CliRunner().invoke(app, arguments(folder))
    assert again.exit_code == 0, again.output
    assert not re.search(r"\d epochs", again.output)  # "not as published: fits.64.epochs" is said each time
    assert "draw" not in again.output
    assert {path: path.stat().st_mtime_ns for path in (folder / "bundle").iterdir()} == before


def test_a_second_run_at_once_in_one_work_folder_is_refused(tmp_path: Path) -> None:
    with alone_in(tmp_path / "work"):
        second = CliRunner().invoke(app, arguments(tmp_path, "prepare"))
    assert second.exit_code == 2
    assert "another run is at work" in " ".join(second.output.replace("│", " ").split())
    assert [path.name for path in (tmp_path / "work").iterdir()] == [".lock"]


def test_processes_of_torchrun_share_the_fits_where_another_fit_was(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(whole[0] / "work", tmp_path / "work")
    sets = {"fits.*.epochs": "1", "fits.*.crop_epochs": "0", "fits.*.precision": "32"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    said = finish(
        [*torchrun, "-m", "cxrserve", *arguments(tmp_path, "fit", **sets)],
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
    )
    # Said once: by the first process.
    assert said.count("fit 128, fold 1, seed 0: 1 epochs") == 1
    assert said.count("fit 64, fold 1, seed 0: 1 epochs") == 1
    again = CliRunner().invoke(app, arguments(tmp_path, "fit", **sets))
    assert again.exit_code == 0, again.output
    assert not re.search(r"\d epochs", again.output)  # "not as published: fits.64.epochs" is said each time
