"""Orthanc sends radiographs to the station by itself: by the Lua script in deploy/, by REST, by DICOMweb."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from tests import dcmtk
from tests.orthanc import Orthanc, free_port, orthanc
from tests.pacs.conftest import new_chest
from tests.stations import Station, station

ROUTE = Path(__file__).resolve().parents[2] / "deploy" / "orthanc" / "route.lua"
RESULTS = {
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
}


@pytest.fixture(scope="module")
def pair(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, Station]]:
    """An Orthanc that knows the station, with our Lua script, and a station that knows that Orthanc."""
    folder = tmp_path_factory.mktemp("routing")
    dicom_port, station_port, http_port = free_port(), free_port(), free_port()
    rules = {
        "quiet_time_s": 0.2,
        "otherwise": "ignore",
        "destinations": {
            "pacs": {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom_port}
        },
        "rules": [{"name": "all", "destinations": ["pacs"]}],
    }
    settings: dict[str, Any] = {
        "DicomModalities": {"cxrserve": ["CXRSERVE", "127.0.0.1", station_port]},
    }
    web = {"cxrserve": {"Url": f"http://127.0.0.1:{http_port}/dicom-web/"}}
    with (
        orthanc(
            folder / "orthanc",
            dicom_port=dicom_port,
            lua=[ROUTE],
            DicomWeb={"Enable": True, "Servers": web},
            **settings,
        ) as pacs,
        station(tiny_bundle, folder / "archive", rules, dicom_port=station_port, port=http_port) as running,
    ):
        yield pacs, running


def of_study(pacs: Orthanc, study: str, count: int) -> dict[str, str]:
    """SOP class of each object of a study, by Orthanc's own identifier."""
    found = pacs.wait_for_study(study, count)
    return {each: pacs.get(f"/instances/{each}/simplified-tags")["SOPClassUID"] for each in found}


def test_by_lua_without_an_echo(pair: tuple[Orthanc, Station], tmp_path: Path) -> None:
    pacs, running = pair
    file = new_chest(tmp_path / "chest.dcm")
    dataset = dcmread(file)
    assert "Success" in dcmtk.storescu(pacs.dicom_port, file, ae="ORTHANC")
    found = of_study(pacs, dataset.StudyInstanceUID, 4)
    assert set(found.values()) == {dataset.SOPClassUID, *RESULTS}
    # The results that Orthanc has stored are not sent to us as if they were radiographs.
    kept = [line for line in running.lines if "outcome=kept" in line and "cxrserve.audit" in line]
    assert len(kept) == 1


@pytest.mark.parametrize("way", ["rest", "dicomweb"])
def test_when_told_to(pair: tuple[Orthanc, Station], way: str, tmp_path: Path) -> None:
    """An object that the script leaves alone is sent by a call, as an administrator would."""
    pacs, running = pair
    capture = new_chest(tmp_path / "capture.dcm", SOPClassUID=SecondaryCaptureImageStorage)
    dataset = dcmread(capture)
    assert "Success" in dcmtk.storescu(pacs.dicom_port, capture, ae="ORTHANC")
    (identifier,) = pacs.wait_for_study(dataset.StudyInstanceUID, 1)
    if way == "rest":
        answer = httpx.post(f"{pacs.url}/modalities/cxrserve/store", content=identifier, timeout=30)
    else:
        answer = httpx.post(
            f"{pacs.dicom_web}/servers/cxrserve/stow", json={"Resources": [identifier]}, timeout=30
        )
    assert answer.status_code == 200, answer.text
    of_study(pacs, dataset.StudyInstanceUID, 4)
    if way == "rest":
        running.said("protocol=dimse")
    else:
        running.said("protocol=stow")


@pytest.mark.parametrize("way", ["rest", "dicomweb"])
def test_a_pacs_that_sends_everything_back_makes_no_loop(
    pair: tuple[Orthanc, Station], way: str, tmp_path: Path
) -> None:
    """Whoever routes all they store to us must not make us judge our own pictures, for ever."""
    pacs, running = pair
    file = new_chest(tmp_path / "chest.dcm")
    study = dcmread(file).StudyInstanceUID
    assert "Success" in dcmtk.storescu(running.dicom_port, file)
    results = of_study(pacs, study, 3)
    seen = len(running.lines)
    if way == "rest":  # reports and presentation states are refused in the negotiation
        back = [each for each, kind in results.items() if kind == SecondaryCaptureImageStorage]
        answer = httpx.post(f"{pacs.url}/modalities/cxrserve/store", json=back, timeout=30)
    else:
        back = list(results)
        answer = httpx.post(f"{pacs.dicom_web}/servers/cxrserve/stow", json={"Resources": back}, timeout=30)
    assert answer.status_code == 200, answer.text
    until = time.monotonic() + 10
    while len(received := [line for line in running.lines[seen:] if "received=" in line]) < len(back):
        assert time.monotonic() < until, running.lines[seen:]
        time.sleep(0.05)
    assert all("outcome=ignored" in line for line in received)
    assert len(pacs.wait_for_study(study, 3)) == 3
