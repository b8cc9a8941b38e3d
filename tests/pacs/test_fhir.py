"""Reports pushed to a FHIR server: valid there, replaced by later ones, and none lost or doubled."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import playwright
import pytest
from pydicom.uid import generate_uid

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import FhirPeer
from cxrserve.pacs.destinations import destinations_of
from cxrserve.pacs.echo import echo
from tests.orthanc import free_port
from tests.pacs.conftest import new_chest
from tests.pacs.test_hl7 import store
from tests.stations import station
from tests.waiting import until

FOLDER = Path(__file__).parent / "fhir_server"


@contextmanager
def fhir_server(hold: Path) -> Iterator[str]:
    """Run the FHIR server while the block lasts; its URL. It answers no update while `hold` exists."""
    bundled = Path(playwright.__file__).parent / "driver" / "node"
    node = str(bundled) if bundled.is_file() else shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    if not (FOLDER / "node_modules" / "@medplum").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the FHIR server is not installed: npm --prefix tests/pacs/fhir_server ci")
        done = subprocess.run([npm, "ci", "--silent", "--no-audit"], cwd=FOLDER, capture_output=True)
        if done.returncode:
            pytest.skip("the FHIR server cannot be installed: npm --prefix tests/pacs/fhir_server ci")
    command = [node, str(FOLDER / "server.mjs"), str(hold)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fhir") / "hold"


@pytest.fixture(scope="module")
def server(hold: Path) -> Iterator[str]:
    with fhir_server(hold) as url:
        yield url


def reports(server: str, study: str) -> list[dict[str, Any]]:
    """The reports of a study that the server has."""
    entries = httpx.get(f"{server}/DiagnosticReport", timeout=60).json().get("entry", [])
    return [
        entry["resource"]
        for entry in entries
        if any(
            item["identifier"][0]["value"] == f"urn:oid:{study}"
            for item in entry["resource"]["contained"]
            if item["resourceType"] == "ImagingStudy"
        )
    ]


def test_a_report_is_stored_once_also_where_the_station_dies_before_the_answer(
    tiny_bundle: Path, server: str, hold: Path, tmp_path: Path
) -> None:
    """And a late image replaces it."""
    study, archive = generate_uid(), tmp_path / "archive"
    rules = {
        "quiet_time_s": 0.2,
        "destinations": {"fhir": {"protocol": "fhir", "url": server}},
        "rules": [{"name": "all", "destinations": ["fhir"]}],
    }
    patient: dict[str, Any] = {"StudyInstanceUID": study, "PatientID": "4711", "AccessionNumber": "ACC-1"}
    hold.touch()
    with station(tiny_bundle, archive, rules) as running:
        store(running.url, new_chest(tmp_path / "first.dcm", **patient))
        until(lambda: len(reports(server, study)) == 1)
        running.stop(signal.SIGKILL)
    hold.unlink()
    with station(tiny_bundle, archive, rules) as running:
        running.said(r"job=\S+-1-fhir attempt=1 state=done")
        (report,) = reports(server, study)
        assert report["status"] == "preliminary"
        assert report["subject"]["identifier"]["value"] == "4711"
        assert report["identifier"][0]["value"] == "ACC-1"
        assert report["meta"]["versionId"]
        store(running.url, new_chest(tmp_path / "second.dcm", **patient))
        running.said(r"job=\S+-2-fhir attempt=1 state=done")
    (replaced,) = reports(server, study)
    assert replaced["id"] == report["id"]
    assert len(replaced["media"]) == 2


def send(url: str, path: Path) -> None:
    peer = FhirPeer(protocol="fhir", url=url, timeout_s=30)
    destinations_of({"fhir": peer}, "CXRSERVE")["fhir"].send([path])


def test_a_refused_report_is_a_dead_letter_and_a_silent_server_is_tried_again(
    server: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.fhir.json"
    path.write_text(
        '{"resourceType": "DiagnosticReport", "status": "nonsense",'
        ' "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}]}'
    )
    with pytest.raises(DeliveryError, match="answered HTTP 422") as refused:
        send(server, path)
    assert not refused.value.retryable
    with pytest.raises(DeliveryError, match="cannot be reached") as silent:
        send(f"http://127.0.0.1:{free_port()}", path)
    assert silent.value.retryable


def test_a_connection_is_checked(server: str) -> None:
    assert echo(FhirPeer(protocol="fhir", url=server, timeout_s=60), "CXRSERVE") > 0
    with pytest.raises(DeliveryError, match="cannot be reached"):
        echo(FhirPeer(protocol="fhir", url=f"http://127.0.0.1:{free_port()}"), "CXRSERVE")
