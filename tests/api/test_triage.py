"""POST /triage and `predict --triage` on a real service: decisions are those of /predict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import Serve
from tests.servers import Running


def test_decisions_are_those_of_predict(server: Running, chest_jpeg: bytes) -> None:
    full = httpx.post(server.url + "/predict?heatmaps=none", content=chest_jpeg, timeout=60).json()
    triage = httpx.post(server.url + "/triage", content=chest_jpeg, timeout=60)
    assert triage.status_code == 200, triage.text
    answer = triage.json()
    assert [one["finding"] for one in answer["decisions"]] == [one["finding"] for one in full["findings"]]
    for one, whole in zip(answer["decisions"], full["findings"], strict=True):
        assert one["positive"] == whole["positive"]
        assert one["lower"] - 1e-9 <= whole["probability"] <= one["upper"] + 1e-9
    assert answer["guarantee"] == {"name": "exact", "epsilon": None, "calibrated_on": None, "checked": None}
    assert 0 < answer["work"] <= 1
    assert set(answer["ran"]) <= {scale["size"] for scale in full["findings"][0]["scales"]}
    assert "not a medical device" in answer["disclaimer"].lower()


def test_one_finding_alone(server: Running, chest_dicom: bytes) -> None:
    params = {"findings": "pleural_effusion", "priority": "stat"}
    answer = httpx.post(server.url + "/triage", params=params, content=chest_dicom, timeout=60).json()
    assert [one["finding"] for one in answer["decisions"]] == ["Pleural Effusion"]
    assert all(f"engine_{size}" in answer["timing_ms"] for size in answer["ran"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("findings=Toothache", "Toothache"),
        ("guarantee=conformal", "no calibration"),
        ("guarantee=perhaps", "guarantee"),
        ("epsilon=2", "epsilon"),
        ("epsilon=nan", "epsilon"),
        ("heatmaps=all", "heatmaps"),
    ],
)
def test_what_cannot_be_asked_is_refused(server: Running, chest_jpeg: bytes, query: str, said: str) -> None:
    refused = httpx.post(f"{server.url}/triage?{query}", content=chest_jpeg, timeout=60)
    assert refused.status_code in {400, 422}
    assert refused.headers["content-type"] == "application/problem+json"
    assert said in refused.text


def test_an_image_that_cannot_be_judged_is_refused(server: Running) -> None:
    refused = httpx.post(server.url + "/triage", content=b"\xff\xd8\xff\xe0 no film", timeout=60)
    assert refused.status_code == 422


def test_the_demo_bundle_keeps_its_conformal_promise_on_record(serve: Serve, chest_jpeg: bytes) -> None:
    demo = Path(__file__).resolve().parents[2] / "models" / "demo"
    with serve(bundle=demo) as running:
        params = {"guarantee": "conformal", "epsilon": "0.001", "findings": "Cardiomegaly"}
        answer = httpx.post(running.url + "/triage", params=params, content=chest_jpeg, timeout=60).json()
    assert answer["guarantee"]["name"] == "conformal"
    assert answer["guarantee"]["epsilon"] == 0.001
    checked = answer["guarantee"]["checked"]
    assert checked["epsilon"] == 0.001
    assert checked["differing"] / checked["images"] <= 0.005
    assert answer["work"] < 1


def test_the_command_line_decides(tiny_bundle: Path, chest_jpeg: bytes, tmp_path: Path) -> None:
    film = tmp_path / "film.jpg"
    film.write_bytes(chest_jpeg)
    command = [sys.executable, "-m", "cxrserve", "predict", str(film), "--bundle", str(tiny_bundle)]
    for format_ in ("table", "csv", "json"):
        asked = [*command, "--triage", "exact", "--format", format_]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "negative" in done.stdout or "positive" in done.stdout
    assert len(json.loads(done.stdout)[0]["decisions"]) == 14
    mixed = subprocess.run(
        [*command, "--triage", "exact", "--heatmaps", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert mixed.returncode == 2
    assert "--triage" in mixed.stderr
