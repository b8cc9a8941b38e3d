"""POST /triage and `predict --triage` on a real service: decisions are those of /predict."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import httpx
import pytest

from cxrserve.bundle.contract import read_contract
from cxrserve.findings import NAMES
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
    assert answer["guarantee"] == {
        "name": "exact",
        "epsilon": None,
        "holds": True,
        "calibrated_on": None,
        "calibrated_with": [],
        "checked": [],
    }
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
    early = read_contract(demo)[0].triage
    assert early is not None
    checks = {check.findings: check for check in early.checked if check.guarantee == "conformal"}
    assert set(checks) == {"all", *NAMES}
    for check in checks.values():
        # What was counted does not refute the promise: the interval of the true share reaches down to it.
        assert check.epsilon is not None
        assert check.differing_above is not None
        assert check.differing_above <= check.epsilon, check
    assert all(check.differing == 0 for check in early.checked if check.guarantee == "exact")
    predicted = {name for name, predicts in zip(NAMES, early.predicts, strict=True) if predicts}
    assert "Consolidation" in predicted
    with serve(bundle=demo) as running:
        for findings in ("Cardiomegaly", "Consolidation"):
            params = {
                "guarantee": "conformal",
                "epsilon": str(checks[findings].epsilon),
                "findings": findings,
            }
            answer = httpx.post(running.url + "/triage", params=params, content=chest_jpeg, timeout=60).json()
            assert answer["guarantee"]["name"] == "conformal"
            assert answer["guarantee"]["checked"] == [checks[findings].model_dump(mode="json")]
            assert answer["work"] < 1
            if findings in predicted:
                assert not answer["guarantee"]["holds"]
                assert "measured on phantoms" in " ".join(
                    warning["message"] for warning in answer["warnings"]
                )


def test_the_command_line_decides(tiny_bundle: Path, chest_jpeg: bytes, tmp_path: Path) -> None:
    film = tmp_path / "film.jpg"
    film.write_bytes(chest_jpeg)
    command = [sys.executable, "-m", "cxrserve", "predict", str(film), "--bundle", str(tiny_bundle)]

    def ran(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--triage", "exact", *options], capture_output=True, text=True, timeout=120
        )

    table, rows = ran("--format", "table"), ran("--format", "csv")
    for done in (table, rows):
        assert done.returncode == 0, done.stderr
        assert "of the full work on average" in done.stderr
    assert table.stdout.count("negative") + table.stdout.count("positive") == 14
    (row,) = csv.DictReader(StringIO(rows.stdout))
    assert {row[name] for name in NAMES} == {"negative", "positive"}
    some = ran("--findings", "edema,Fracture", "--format", "json")
    assert [one["finding"] for one in json.loads(some.stdout)[0]["decisions"]] == ["Edema", "Fracture"]
    mixed = ran("--heatmaps", str(tmp_path))
    assert mixed.returncode == 2
    assert "--triage" in mixed.stderr
