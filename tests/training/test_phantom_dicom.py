"""A phantom's DICOM file keeps the rules of Digital X-Ray images, by a validator that is not ours."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from training.phantom import write_phantoms


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed"
)
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    write_phantoms(tmp_path, count=2, seed=3, format="dicom")
    files = sorted(tmp_path.glob("*.dcm"))
    assert len(files) == 2  # one of each polarity
    for file in files:
        said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        assert any("DXImageForPresentation" in line for line in lines), lines
        assert [line for line in lines if line.startswith("Error")] == []
