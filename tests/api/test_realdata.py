"""The public radiographs and the files that are none, through the whole service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from cxrserve.findings import NAMES
from tests.api.conftest import check_problem


def files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert found
    return found


@pytest.fixture(scope="module")
def expected(realdata: Path) -> dict[str, Any]:
    """What is known of the files: which must be answered, which refused, which are the same picture."""
    read: dict[str, Any] = json.loads((realdata / "expect.json").read_text())
    return read


def test_every_radiograph_is_answered(client: httpx.Client, realdata: Path) -> None:
    for path in files(realdata / "cxr"):
        response = client.post("/predict?heatmaps=none", content=path.read_bytes())
        assert response.status_code == 200, f"{path.name}: {response.text}"
        assert [each["finding"] for each in response.json()["findings"]] == list(NAMES)


def test_every_dicom_file_is_answered_or_refused_with_its_cause(
    client: httpx.Client, realdata: Path, expected: dict[str, Any]
) -> None:
    folder = realdata / "dicom"
    for path in files(folder):
        response = client.post("/predict?heatmaps=none", content=path.read_bytes())
        name = str(path.relative_to(folder))
        if response.status_code == 200:
            assert name not in expected["must_refuse"], name
            assert "NaN" not in response.text
        else:
            assert name not in expected["must_answer"], f"{name}: {response.text}"
            slug = response.json()["type"].removeprefix("/problems/")
            check_problem(response, response.status_code, slug)
            assert response.status_code in (400, 413, 415, 422), f"{name}: {response.text}"


def test_the_same_picture_in_another_syntax_says_the_same(
    client: httpx.Client, realdata: Path, expected: dict[str, Any]
) -> None:
    said: dict[str, list[float]] = {}
    for name in sorted({name for pair in expected["same"] for name in pair}):
        data = (realdata / "dicom" / name).read_bytes()
        findings = client.post("/predict?heatmaps=none", content=data).json()["findings"]
        said[name] = [each["probability"] for each in findings]
    for one, other in expected["same"]:
        assert said[one] == pytest.approx(said[other], abs=1e-4), (one, other)
