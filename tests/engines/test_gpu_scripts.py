"""The scripts that pack for a GPU machine and measure there: sound shell, and names that exist."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


def _listed(name: str) -> set[str]:
    """The packages of a list in the packing script."""
    listed = re.search(
        rf"^{name}=\(([^)]*)\)", (FOLDER / "gpu_pack.sh").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed is not None
    return set(listed[1].split())


def test_what_is_packed_is_pinned() -> None:
    pins = {
        line.partition("==")[0].replace("_", "-")
        for line in (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    assert {*_listed("PACKAGES"), "onnxruntime"} <= pins


def test_what_is_packed_lacks_nothing() -> None:
    """pip packs each package without what it asks for: all of that is in one of the two lists."""
    packed, there = _listed("PACKAGES"), _listed("THERE")
    held = packed | there | {"openvino"}  # an engine of CPUs
    for package in (*packed, "cxrserve"):
        for requirement in map(Requirement, metadata.requires(package) or []):
            if requirement.marker is None or requirement.marker.evaluate(
                {"python_version": "3.12", "extra": ""}
            ):
                assert canonicalize_name(requirement.name) in held, f"{package} asks for {requirement}"


def test_what_is_run_exists() -> None:
    text = (FOLDER / "gpu_day.sh").read_text(encoding="utf-8")
    modules = set(re.findall(r"-m (tests\.[\w.]+)", text))
    assert modules == {f"tests.benchmarks.{name}" for name in ("gpu", "pipeline_rate", "torch_packages")}
    assert all(importlib.util.find_spec(module) for module in modules)
    for file in re.findall(r" (tests/engines/\w+\.py)", text):
        assert (ROOT / file).is_file()
