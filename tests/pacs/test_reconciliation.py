"""Reconciliation with a real PACS: it is asked whose a study is, by C-FIND and by QIDO-RS."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from tests.orthanc import Orthanc, orthanc
from tests.pacs.conftest import new_chest
from tests.pacs.hl7_receiver import receiving
from tests.stations import Station, station
from tests.waiting import until

TEMPORARY: dict[str, Any] = {"PatientID": "TMP-9", "PatientName": "UNKNOWN^TRAUMA"}
RIGHT: dict[str, Any] = {"PatientID": "REAL-9", "PatientName": "Real^Name", "PatientBirthDate": "19700102"}


def stow(url: str, *files: Path) -> int:
    """The HTTP status of a STOW-RS request."""
    body = b"".join(
        b"--B\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n" for path in files
    )
    answer = httpx.post(
        f"{url}/dicom-web/studies",
        content=body + b"--B--\r\n",
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'},
        timeout=60,
    )
    return answer.status_code


def results(pacs: Orthanc, study: str, count: int) -> list[Dataset]:
    """The results of a study in the PACS, once there are `count` objects of it."""
    files = [dcmread(io.BytesIO(pacs.file(name))) for name in pacs.wait_for_study(study, count)]
    return [file for file in files if file.Modality in ("SR", "OT", "PR")]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that answers C-FIND to anybody."""
    with orthanc(tmp_path_factory.mktemp("orthanc"), DicomAlwaysAllowFind=True) as running:
        yield running


@pytest.mark.parametrize("protocol", ["dimse", "qido"])
def test_the_pacs_is_asked_whose_a_study_is(
    tiny_bundle: Path, pacs: Orthanc, tmp_path: Path, protocol: str
) -> None:
    """Held until the PACS knows; then the study and all that was held for it go to the patient it names."""
    rules = {
        "quiet_time_s": 0.2,
        "destinations": {
            "pacs": {
                "protocol": "dimse",
                "ae_title": "ORTHANC",
                "host": "127.0.0.1",
                "port": pacs.dicom_port,
                "timeout_s": 30,
            }
        },
        "servers": {"query": {"url": pacs.dicom_web}},
        "patients": {"conflicts": "pacs", "source": "pacs" if protocol == "dimse" else "query"},
        "rules": [{"name": "all", "destinations": ["pacs"], "results": ["report", "presentation-state"]}],
    }
    study = generate_uid()
    first = new_chest(tmp_path / "first.dcm", StudyInstanceUID=study, **TEMPORARY)
    second = new_chest(tmp_path / "second.dcm", StudyInstanceUID=study, **RIGHT)
    archive = tmp_path / "archive"
    with station(tiny_bundle, archive, rules, delivery_max_pause_s=1) as running:
        assert stow(running.url, first) == 200
        wrong = results(pacs, study, 2)
        assert {result.PatientID for result in wrong} == {"TMP-9"}
        for name in pacs.wait_for_study(study, 2):  # a person reconciles the patient there
            httpx.delete(f"{pacs.url}/instances/{name}", timeout=60).raise_for_status()
        assert stow(running.url, second) == 200
        running.said("kind=reconciliation|job=.*-patient attempt=1 state=waiting")
        assert stow(pacs.url, second) == 200
        corrected = results(pacs, study, 4)  # the image, the report and two presentation states
        assert {str(result.PatientID) for result in corrected} == {"REAL-9"}
        assert {str(result.PatientBirthDate) for result in corrected} == {"19700102"}
        _until_settled(running, study)


def _until_settled(running: Station, study: str) -> None:
    """Wait until the study is the right patient's, and nothing is held for it."""

    def is_settled() -> bool:
        entry = httpx.get(f"{running.url}/studies/{study}", timeout=60).json()
        settled = (entry["patient_id"], len(entry["images"])) == ("REAL-9", 2)
        return settled and not list(running.archive.glob("quarantine/*"))

    until(is_settled)


def corrected_copy(source: Path, target: Path, **elements: object) -> Path:
    """The same image under another patient, as a PACS sends it after a correction."""
    dataset = dcmread(source)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(target)
    return target


def reconcile_in(pacs: Orthanc, patient_id: str) -> None:
    """Correct a patient in the PACS, as its administrator does."""
    query = {"Level": "Patient", "Query": {"PatientID": patient_id}}
    (name,) = httpx.post(f"{pacs.url}/tools/find", json=query, timeout=60).json()
    change = {
        "Replace": {key: RIGHT[key] for key in ("PatientID", "PatientName", "PatientBirthDate")},
        "Keep": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
        "KeepSource": False,
        "Force": True,
        "Synchronous": True,
    }
    httpx.post(f"{pacs.url}/patients/{name}/modify", json=change, timeout=60).raise_for_status()


def test_a_trauma_is_corrected_at_three_destinations(
    tiny_bundle: Path, pacs: Orthanc, tmp_path: Path
) -> None:
    """Analysed under a temporary ID, a second image, the correction, and a late result."""
    study, audit = generate_uid(), tmp_path / "audit.jsonl"
    first = new_chest(tmp_path / "first.dcm", StudyInstanceUID=study, **TEMPORARY)
    second = new_chest(tmp_path / "second.dcm", StudyInstanceUID=study, **RIGHT)
    with orthanc(tmp_path / "second-pacs") as web, receiving() as ris:
        dimse = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port, "timeout_s": 60}
        rules = {
            "quiet_time_s": 0.2,
            "destinations": {
                "pacs": {"protocol": "dimse", **dimse},
                "web": {"protocol": "stow", "url": web.dicom_web, "timeout_s": 60},
                "ris": {"protocol": "hl7", "host": "127.0.0.1", "port": ris.port, "timeout_s": 60},
            },
            "rules": [{"name": "all", "destinations": ["pacs", "web", "ris"]}],
        }
        ris.code = "AR"
        settings: dict[str, object] = {"delivery_max_pause_s": 1, "audit": f"file://{audit}"}
        with station(tiny_bundle, tmp_path / "archive", rules, **settings) as running:
            assert stow(running.url, first) == 200
            running.said(r"job=\S+-1-ris attempt=1 state=waiting")
            for destination in (pacs, web):
                assert len(results(destination, study, 3)) == 3
            assert stow(running.url, second) == 200, "held"
            assert stow(running.url, corrected_copy(first, tmp_path / "corrected.dcm", **RIGHT)) == 200
            refused = len(ris.messages)
            ris.code = "AA"
            until(lambda: any("REAL-9" in message for message in ris.messages))
            late = [message for message in ris.messages[refused + 1 :] if "TMP-9" in message]
            assert not late, "nothing goes out under the former ID"
            for destination in (pacs, web):
                _check_superseded(results(destination, study, 8))
            _until_settled(running, study)
    reconcile_in(pacs, "TMP-9")
    assert {result.PatientID for result in results(pacs, study, 8)} == {"REAL-9"}
    events = [json.loads(line) for line in audit.read_text().splitlines()]
    (event,) = (event for event in events if event["action"] == "correct")
    assert event["patients"] == ["TMP-9", "REAL-9"]
    assert (event["studies"], event["address"]) == ([study], "127.0.0.1")
    assert event["time"]


def _check_superseded(received: list[Dataset]) -> None:
    """Every result is there under the right patient, and the report names the one that it replaces."""
    wrong = [result for result in received if result.PatientID == "TMP-9"]
    right = [result for result in received if result.PatientID == "REAL-9"]
    assert sorted(result.Modality for result in wrong) == ["OT", "PR", "SR"]
    annotations = sorted(result.Modality for result in right if result.Modality != "SR")
    assert annotations == ["OT", "OT", "PR", "PR"]
    # On a slow machine the correction and the second image may have a revision each.
    predecessors = {
        instance.ReferencedSOPInstanceUID
        for result in right
        if result.Modality == "SR"
        for instance in result.PredecessorDocumentsSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence
    }
    assert {result.SOPInstanceUID for result in wrong if result.Modality == "SR"} <= predecessors
