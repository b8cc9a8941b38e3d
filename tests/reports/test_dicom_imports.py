"""The service loads no library for DICOM results before the first result."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["cxrserve.api.server", "cxrserve.reports.dicom"])
def test_highdicom_and_fhir_wait_for_the_first_result(module: str) -> None:
    script = f"import {module}, sys; print({{'highdicom', 'fhir'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
