"""The whole story by real processes: train, serve, drift, alarm, a site file from labels, check, restart.

The films are phantoms, made small; each is varied a little, and later all of them come darker, as from
another exposure. The bundle's networks know next to nothing, which changes nothing here.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from cxrserve.bundle.calibration import Calibration
from cxrserve.findings import NAMES
from cxrserve.site.file import read_site
from cxrserve.watch.reference import MIN_FILMS
from tests import radiographs
from tests.stations import Station, station
from tests.trained import finish
from tests.waiting import until
from training.phantom import make_phantom

pytestmark = pytest.mark.timeout(1800)
PATIENTS, FIRST_SEED = 40, 31_000
SIDE, MARGIN = 256, 8
DARKER = 1.3  # exponent of the grey values
# A station of 20 films a day that turns to this tone curve is found in 5 days (tests/benchmarks/watch.py).
PROMISED_FILMS = 100
LABELLED = 300


@dataclass(frozen=True)
class Film:
    """A film of a patient: uint8 [SIDE, SIDE], and its labels."""

    patient: int
    pixels_HW: NDArray[np.uint8]
    labels_F: NDArray[np.bool_]

    @property
    def png(self) -> bytes:
        """The film as a file."""
        done, buffer = cv2.imencode(".png", self.pixels_HW)
        assert done
        return buffer.tobytes()

    def dicom(self) -> tuple[str, bytes]:
        """The film as a DICOM file of a study of its own, after the study's UID."""
        study = generate_uid()
        dataset = radiographs.dataset(
            SIDE, SIDE, SOPInstanceUID=generate_uid(), StudyInstanceUID=study, PatientID=f"P{self.patient}"
        )
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PixelData = (self.pixels_HW.astype("<u2") << 4).tobytes()
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        return study, file.getvalue()


class Hospital:
    """Films of the same patients, drawn at random: slightly shifted, brighter or darker, and noisy."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(5)
        self._phantoms = [self._small(FIRST_SEED + number) for number in range(PATIENTS)]

    @staticmethod
    def _small(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        phantom = make_phantom(seed)
        side = SIDE + 2 * MARGIN
        small_HW = cv2.resize(phantom.radiograph.pixels_HW, (side, side), interpolation=cv2.INTER_AREA)
        return (small_HW / 4095).astype(np.float32), phantom.labels_F

    def films(self, count: int, exponent: float = 1.0) -> list[Film]:
        """`count` films, under the tone curve with this exponent."""
        return [self._film(exponent) for _ in range(count)]

    def _film(self, exponent: float) -> Film:
        random = self._random
        patient = int(random.integers(PATIENTS))
        shares_HW, labels_F = self._phantoms[patient]
        top, left = random.integers(0, 2 * MARGIN + 1, 2)
        varied_HW = shares_HW[top : top + SIDE, left : left + SIDE] * random.uniform(0.9, 1.0)
        varied_HW = varied_HW + random.normal(0, 0.01, varied_HW.shape)
        toned_HW = np.clip(varied_HW, 0, 1) ** exponent
        return Film(patient, (toned_HW * 255).astype(np.uint8), labels_F)


def cxrserve(*arguments: object) -> str:
    """Run `cxrserve` with these arguments, which must succeed; returns its output."""
    return finish([sys.executable, "-m", "cxrserve", *map(str, arguments)])


def write(folder: Path, films: Sequence[Film], labelled: int) -> Path:
    """The films as files, and a table of labels of the first ones; the table's path."""
    folder.mkdir()
    rows: list[list[object]] = []
    for number, film in enumerate(films):
        (folder / f"{number:04d}.png").write_bytes(film.png)
        rows.append([f"{number:04d}.png", f"p{film.patient}", *film.labels_F.astype(int)])
    table = folder.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "patient", *NAMES], *rows[:labelled]])
    return table


def send(url: str, films: Iterable[Film]) -> list[dict[str, Any]]:
    """The answers of POST /predict."""

    def predict(film: Film) -> dict[str, Any]:
        answer = client.post("/predict", params={"heatmaps": "none"}, content=film.png)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    with httpx.Client(base_url=url, timeout=120) as client, ThreadPoolExecutor(4) as threads:
        return list(threads.map(predict, films))


def watched(url: str, films: int) -> dict[str, Any]:
    """The report of the watch, once it has counted so many films."""

    def counted() -> dict[str, Any] | None:
        report: dict[str, Any] = httpx.get(f"{url}/watch").json()
        every = next((group for group in report["groups"] if group["station"] == "all"), {"films": 0})
        return report if every["films"] >= films else None

    return until(counted)


def archived(running: Station, film: Film) -> list[Dataset]:
    """The DICOM results that the archive has made of a film it received by STOW-RS."""
    study, data = film.dicom()
    head = b"--part\r\nContent-Type: application/dicom\r\n\r\n"
    stored = httpx.post(
        f"{running.url}/dicom-web/studies",
        content=head + data + b"\r\n--part--\r\n",
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=part'},
        timeout=60,
    )
    assert stored.status_code == 200, stored.text

    def results() -> httpx.Response | None:
        answer = httpx.get(f"{running.url}/studies/{study}/results", timeout=60)
        return answer if answer.status_code == 200 else None

    response = until(results)
    boundary = re.search(r'boundary="?([^";]+)', response.headers["content-type"])
    assert boundary is not None
    parts = response.content.split(b"--" + boundary[1].encode())[1:-1]
    return [dcmread(io.BytesIO(part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))) for part in parts]


def test_from_training_to_an_adopted_site(trained: tuple[Path, str], tmp_path: Path) -> None:
    bundle, hospital = trained[0] / "bundle", Hospital()
    archive, watch = tmp_path / "archive", tmp_path / "watch"
    rules = {"quiet_time_s": 0.2, "rules": [{"name": "all"}]}

    with station(bundle, archive, rules, watch=watch) as running:
        send(running.url, hospital.films(MIN_FILMS + PROMISED_FILMS))
        report = watched(running.url, MIN_FILMS + PROMISED_FILMS)
        assert not report["alarm"], report["changes"]
        assert report["groups"][0]["watched"]
        bare = archived(running, hospital.films(1)[0])
        sent = MIN_FILMS + PROMISED_FILMS + 1
        for _ in range(PROMISED_FILMS // 10):
            before = send(running.url, hospital.films(10, DARKER))
            sent += 10
            report = watched(running.url, sent)
            if report["alarm"]:
                break
        assert report["alarm"], f"no alarm after {PROMISED_FILMS} films"
        assert any("darker in their stored values" in change["text"] for change in report["changes"])
        assert "cxrserve_watch_alarm 1.0" in until_metrics(running.url, "cxrserve_watch_alarm 1.0")
    assert before[0]["model"]["site"] is None

    site = tmp_path / "site.json"
    labels = write(tmp_path / "films", hospital.films(MIN_FILMS, DARKER), LABELLED)
    own = ["--set", "threads=1", "--set", "decode_workers=1"]
    cxrserve(
        "site", "draft", bundle, tmp_path / "films", "--labels", labels, "--name", "A", "--out", site, *own
    )
    made, sha256 = read_site(site)
    assert made.calibration
    assert {outcome.films for outcome in made.evidence} == {LABELLED}
    later = write(tmp_path / "later", hospital.films(100, DARKER), 100)
    arguments = ["--labels", later, "--bundle", bundle, "--out", tmp_path / "acceptance"]
    cxrserve("site", "check", site, tmp_path / "later", *arguments, *own)
    acceptance = json.loads((tmp_path / "acceptance" / "report.json").read_text())
    assert acceptance["site_sha256"] == sha256
    adopted = [finding for finding in acceptance["findings"] if finding["finding"] in made.calibration]
    assert np.mean([f["log_loss_site"] for f in adopted]) < np.mean([f["log_loss_bundle"] for f in adopted])

    with station(bundle, archive, rules, watch=watch, site=site) as running:
        answers = send(running.url, hospital.films(PROMISED_FILMS, DARKER))
        report = watched(running.url, PROMISED_FILMS)
        assert not report["alarm"], report["changes"]
        assert report["groups"][0]["watched"]
        assert (report["groups"][0]["reference"], report["site"]) == ("site", "site A v1")
        assert httpx.get(f"{running.url}/model").json()["site"]["sha256"] == sha256
        objects = archived(running, hospital.films(1, DARKER)[0])
        assert "cxrserve_watch_alarm 0.0" in until_metrics(running.url, "cxrserve_watch_alarm 0.0")
    for answer in answers:
        assert answer["model"]["site"] == "site A v1"
        for finding in answer["findings"]:
            if finding["finding"] in made.calibration:
                calibration: Calibration = made.calibration[finding["finding"]]
                assert finding["probability"] == pytest.approx(float(calibration.apply(finding["score"])))
    assert all("site A v1" in each.SoftwareVersions for each in objects)
    assert not any("site A v1" in each.SoftwareVersions for each in bare)
    assert {each.DeviceUID for each in objects}.isdisjoint(each.DeviceUID for each in bare)


def until_metrics(url: str, line: str) -> str:
    """The metrics, once they hold the line; the watch writes twice a second."""

    def metrics() -> str | None:
        text = httpx.get(f"{url}/metrics").text
        return text if line in text else None

    return until(metrics)
