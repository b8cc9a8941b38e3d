"""A site file from films by command; the service, its answers and its objects name it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from cxrserve.bundle.contract import read_contract
from cxrserve.cli.main import app
from cxrserve.errors import ConfigurationError
from cxrserve.findings import NAMES
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.site.file import Site, read_site, site_bytes
from cxrserve.watch.group import Observation
from tests import radiographs
from tests.conftest import MakeSettings, Serve


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 small films, and labels that follow their brightness."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "films").mkdir()
    random = np.random.default_rng(0)
    lines = ["file,patient,station,Edema,Fracture"]
    for number in range(60):
        bright = number % 2
        film_HW = cv2.GaussianBlur(random.integers(0, 140, (96, 80), np.uint8), (0, 0), 2)
        film_HW = cv2.normalize(film_HW, film_HW, 0, 180 + 75 * bright, cv2.NORM_MINMAX)
        cv2.imwrite(str(folder / "films" / f"{number}.png"), film_HW)
        lines.append(f"{number}.png,p{number},Room 3,{bright},{bright}")
    (folder / "films" / "notes.txt").write_text("no film")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def site_file(hospital: Path, tiny_bundle: Path) -> Path:
    """The site file that the command makes of them."""
    path = hospital / "site.json"
    arguments = ["site", "draft", str(tiny_bundle), str(hospital / "films"), "--name", "St Mary"]
    arguments += ["--labels", str(hospital / "labels.csv"), "--out", str(path), "--station", "Room 3=DX3,DX4"]
    done = CliRunner().invoke(app, [*arguments, "--set", "threads=1", "--set", "decode_workers=1"])
    assert done.exit_code == 0, done.output
    assert "site St Mary v1 is written" in done.output
    return path


def test_draft_check_diff_and_history_by_command(
    hospital: Path, site_file: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    made, sha256 = read_site(site_file)
    assert made.stations == {"Room 3": ("DX3", "DX4")}
    assert {item.finding for item in made.evidence} == {"Edema", "Fracture"}
    assert [(group.station, group.films) for group in made.watch] == [("all", 60), ("Room 3", 60)]
    assert "film" not in site_file.read_text().replace("films", ""), "no file name"
    run = CliRunner()
    again = run.invoke(
        app, ["site", "draft", str(tiny_bundle), str(hospital / "films"), "--out", str(site_file)]
    )
    assert again.exit_code == 2
    assert "never overwritten" in re.sub(r"\W+", " ", again.output)
    arguments = ["site", "check", str(site_file), str(hospital / "films"), "--bundle", str(tiny_bundle)]
    arguments += ["--labels", str(hospital / "labels.csv"), "--out", str(tmp_path / "acceptance")]
    done = run.invoke(app, [*arguments, "--set", "threads=1", "--set", "decode_workers=1"])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "acceptance" / "report.json").read_text())
    assert report["site_sha256"] == sha256
    assert [item["films"] for item in report["findings"]] == [60, 60]
    assert (tmp_path / "acceptance" / "report.html").read_text().startswith("<!doctype html>")
    (tmp_path / "chain").mkdir()
    later = made.model_copy(update={"version": 2, "previous": sha256, "note": "second"})
    (tmp_path / "chain" / "v1.json").write_bytes(site_file.read_bytes())
    (tmp_path / "chain" / "v2.json").write_bytes(site_bytes(later))
    shown = run.invoke(app, ["site", "history", str(tmp_path / "chain")])
    assert shown.exit_code == 0
    assert "second" in shown.output
    different = run.invoke(app, ["site", "diff", str(site_file), str(tmp_path / "chain" / "v2.json")])
    assert different.exit_code == 0
    assert "note" in different.output


@pytest.fixture(scope="module")
def recalibrated(site_file: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same site file with a calibration of every finding."""
    made, _ = read_site(site_file)
    calibration = {name: {"slope": 0.8, "intercept": 0.3, "data": "tests"} for name in NAMES}
    changed = Site.model_validate(made.model_dump() | {"calibration": calibration})
    assert made.bundle_sha256 == read_contract(tiny_bundle)[1]
    path = tmp_path_factory.mktemp("site") / "site.json"
    path.write_bytes(site_bytes(changed))
    return path


def dicom_results(url: str) -> list[bytes]:
    """The DICOM objects that the service makes of one image."""
    response = httpx.post(f"{url}/predict?accept=dicom", content=radiographs.dicom(), timeout=120)
    assert response.status_code == 200, response.text
    boundary = re.search(r'boundary="?([^";]+)', response.headers["content-type"])
    assert boundary is not None
    parts = response.content.split(b"--" + boundary[1].encode())[1:-1]
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]


def test_json_dicom_model_and_metrics_name_the_site(serve: Serve, recalibrated: Path) -> None:
    _, sha256 = read_site(recalibrated)
    objects: list[list[bytes]] = []
    answers = []
    for site in (None, recalibrated):
        with serve(site=site) as server:
            answers.append(httpx.post(f"{server.url}/predict", content=radiographs.jpeg()).json())
            objects.append(dicom_results(server.url))
            model = httpx.get(f"{server.url}/model").json()
            metrics = httpx.get(f"{server.url}/metrics").text
            watch = httpx.get(f"{server.url}/watch").json()
    bare, adopted = answers
    assert bare["model"]["site"] is None
    assert adopted["model"] == bare["model"] | {"site": "site St Mary v1"}
    for before, after in zip(bare["findings"], adopted["findings"], strict=True):
        odds = 0.8 * np.log(before["score"] / (1 - before["score"])) + 0.3
        assert after["score"] == before["score"]
        assert after["probability"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
        assert after["heatmap"] == before["heatmap"] or before["positive"] != after["positive"]
    site, previous = model["site"], read_site(recalibrated)[0].previous
    assert (site["name"], site["version"], site["sha256"]) == ("St Mary", 1, sha256)
    assert site["previous"] is previous is None
    assert {outcome["finding"] for outcome in site["evidence"]} == {"Edema", "Fracture"}
    assert model["calibration"]["Edema"]["slope"] == 0.8
    assert 'site="site St Mary v1"' in metrics
    assert watch["site"] == "site St Mary v1"
    devices = []
    for parts in objects:
        sets = [dcmread(io.BytesIO(part)) for part in parts]
        assert len({each.DeviceUID for each in sets}) == 1
        devices.append(sets[0].DeviceUID)
        versions = [list(each.SoftwareVersions) for each in sets]
        assert all(("site St Mary v1" in each) == (parts is objects[1]) for each in versions)
    assert devices[0] != devices[1], "another site version is another device"
    reports = [dcmread(io.BytesIO(part)) for part in objects[1]]
    (report,) = [each for each in reports if each.Modality == "SR"]
    assert f"site St Mary v1, sha256 {sha256}" in report.to_json()


def test_a_service_with_another_bundle_or_engine_does_not_start(
    make_settings: MakeSettings, recalibrated: Path, tmp_path: Path
) -> None:
    made, _ = read_site(recalibrated)
    for change, message in (
        ({"bundle_sha256": "cd" * 32}, "was made for the bundle"),
        ({"arithmetic": {"engine": "tensorrt", "precisions": {"64": "f32"}}}, r"tensorrt .*computes with"),
    ):
        path = tmp_path / "site.json"
        path.write_text(json.dumps(made.model_dump(mode="json") | change))
        with pytest.raises(ConfigurationError, match=message):
            Pipeline(make_settings(site=path))


def test_a_sender_has_the_station_of_the_site_file(make_settings: MakeSettings, recalibrated: Path) -> None:
    with Pipeline(make_settings(site=recalibrated)) as pipeline:
        for senders in (("DX3",), ("DX9",), ()):
            pipeline.read(radiographs.jpeg(), explain="none", senders=senders)
        pipeline.watch.flush()
        films = {(group.station, group.view): group.films for group in pipeline.watch.report().groups}
    assert films == {("all", "all"): 3, ("Room 3", "other"): 1, ("other", "other"): 2}


def test_the_watch_sees_the_same_of_a_film_with_and_without_a_site_file(
    make_settings: MakeSettings, recalibrated: Path
) -> None:
    """A reference is drafted with the bundle alone; later films are read with the site file."""
    seen: list[Observation] = []
    for site in (None, recalibrated):
        with Pipeline(make_settings(site=site), observe=seen.append) as pipeline:
            pipeline.read(radiographs.jpeg(), explain="none")
    bare, adopted = seen
    np.testing.assert_array_equal(adopted.values_S, bare.values_S)
    assert not np.allclose(adopted.probabilities_F, bare.probabilities_F)
