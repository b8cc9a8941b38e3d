"""The scripts that pack for a GPU machine and measure there: sound shell, and names that exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "benchmarks"
SCRIPTS = ("gpu_pack.sh", "gpu_day.sh")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_sound_and_says_how_it_is_used(name: str) -> None:
    subprocess.run(["bash", "-n", FOLDER / name], check=True)
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert (FOLDER / name).stat().st_mode & 0o111
    steps = re.findall(rf"^#   tests/benchmarks/{re.escape(name)} (\w+)", text, re.MULTILINE)
    assert steps
    assert all(f"\n  {step})\n" in text or f"\n    {step})\n" in text for step in steps)


def test_what_is_packed_is_pinned() -> None:
    text = (FOLDER / "gpu_pack.sh").read_text(encoding="utf-8")
    packages = re.search(r"PACKAGES=\(([^)]*)\)", text)
    assert packages is not None
    pins = {
        line.partition("==")[0].replace("_", "-")
        for line in (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    assert {*packages[1].split(), "onnxruntime"} <= pins


def test_what_is_run_exists() -> None:
    text = (FOLDER / "gpu_day.sh").read_text(encoding="utf-8")
    modules = set(re.findall(r"-m (tests\.[\w.]+)", text))
    assert modules == {"tests.benchmarks.gpu", "tests.benchmarks.pipeline_rate"}
    assert all(importlib.util.find_spec(module) for module in modules)
    for file in re.findall(r" (tests/engines/\w+\.py)", text):
        assert (ROOT / file).is_file()
