"""Studies fetched from a real PACS by QIDO-RS and WADO-RS."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import httpx
import pytest
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid

from cxrserve.archive.peers import PullServer
from cxrserve.pacs import pull
from cxrserve.pacs.pull import radiographs
from tests import dcmtk
from tests.orthanc import Orthanc
from tests.pacs.conftest import new_chest
from tests.stations import Station, station
from tests.waiting import until


@pytest.fixture(scope="module")
def puller(tiny_bundle: Path, pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station that may fetch from `pacs`, and looks there every ten seconds for images of today."""
    rules = {
        "quiet_time_s": 0.2,
        "servers": {"pacs": {"url": pacs.dicom_web, "every_s": 10, "days": 0}},
        "rules": [{"name": "all"}],
    }
    archive = tmp_path_factory.mktemp("puller") / "archive"
    with station(tiny_bundle, archive, rules, audit=f"file:{archive.with_suffix('.audit')}") as running:
        yield running


def in_pacs(pacs: Orthanc, path: Path) -> str:
    """Put an object into the PACS; Orthanc's own identifier."""
    said = dcmtk.storescu(pacs.dicom_port, path, ae="ORTHANC")
    assert "Success" in said
    return said


def fetch(puller: Station, study: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cxrserve", "pacs", "pull", study, "--url", puller.url],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_study_is_fetched_once_byte_for_byte(puller: Station, pacs: Orthanc, tmp_path: Path) -> None:
    study = generate_uid()
    for name in ("one", "two"):
        in_pacs(pacs, new_chest(tmp_path / name, StudyInstanceUID=study, StudyDate="20200101"))
    assert "2 objects arrived" in fetch(puller, study).stdout
    assert "0 objects arrived" in fetch(puller, study).stdout
    # What comes by C-STORE as well is seen to be the same.
    said = dcmtk.storescu(puller.dicom_port, tmp_path / "one")
    assert "Success" in said
    puller.said(r"outcome=duplicate")


def test_a_search_goes_on_where_the_pacs_has_more_than_one_page(
    pacs: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = generate_uid()
    sent = [generate_uid() for _ in range(5)]
    for uid in sent:
        in_pacs(pacs, new_chest(tmp_path / uid, StudyInstanceUID=study, SOPInstanceUID=uid))
    monkeypatch.setattr(pull, "_PAGE", 2)
    found = [
        each["00080018"]["Value"][0]
        for each in radiographs(PullServer(url=pacs.dicom_web), StudyInstanceUID=study)
    ]
    assert sorted(found) == sorted(sent)


def test_what_is_no_radiograph_is_left_where_it_is(puller: Station, pacs: Orthanc, tmp_path: Path) -> None:
    study = generate_uid()
    in_pacs(pacs, new_chest(tmp_path / "us.dcm", StudyInstanceUID=study, Modality="US", StudyDate="20200101"))
    fetched = fetch(puller, study)
    assert fetched.returncode == 2
    assert "pacs has a radiograph of this study. Check the UID" in fetched.stderr


def test_an_unknown_study_is_an_error(puller: Station) -> None:
    fetched = fetch(puller, generate_uid())
    assert fetched.returncode == 2
    assert "The study could not be fetched" in fetched.stderr
    assert "Check the UID" in fetched.stderr
    fetched = fetch(puller, "1.2.x")
    assert fetched.returncode == 2
    assert "is no Study Instance UID" in fetched.stderr
    assert "path.study" not in fetched.stderr


def test_new_images_are_fetched_on_schedule(puller: Station, pacs: Orthanc, tmp_path: Path) -> None:
    puller.said("cxrserve .* is ready")
    study = generate_uid()
    in_pacs(
        pacs,
        new_chest(tmp_path / "today.dcm", StudyDate=f"{date.today():%Y%m%d}", StudyInstanceUID=study),
    )
    puller.said(r"server=pacs fetched=[1-9]", timeout_s=120)

    def recorded() -> list[tuple[str, str, str]]:
        """The user who fetched this study, by the audit trail."""
        lines = puller.archive.with_suffix(".audit").read_text().splitlines()
        return [
            (event["user"], event["outcome"], event["detail"])
            for event in map(json.loads, lines)
            if event["action"] == "pull" and study in event.get("studies", ())
        ]

    until(lambda: bool(recorded()), 120)
    assert recorded() == [("pacs", "success", "schedule")]


@pytest.mark.parametrize("study", ["1.2.3/../../etc", "http://169.254.169.254/", "1" * 65, "abc"])
def test_nobody_makes_it_ask_another_address(puller: Station, study: str) -> None:
    answer = httpx.post(f"{puller.url}/studies/{study}", timeout=20)
    assert answer.status_code in (400, 404, 405, 422)
    assert fetch(puller, study).returncode == 2


def test_a_pacs_that_is_down_is_said_so(tiny_bundle: Path, tmp_path: Path) -> None:
    rules = {"servers": {"pacs": {"url": "http://127.0.0.1:9"}}, "rules": [{"name": "all"}]}
    with station(tiny_bundle, tmp_path / "archive", rules) as running:
        started = time.monotonic()
        found = fetch(running, generate_uid())
        assert found.returncode == 2
        assert "cannot be reached" in found.stderr
        assert time.monotonic() - started < 15


class Failing(ThreadingHTTPServer):
    """A PACS with one study, which answers HTTP 500 where it is asked for the objects in `damaged`.

    Attributes:
        asked: SOP Instance UIDs, in the order they were asked for.
    """

    def __init__(self, study: str, files: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), FailingHandler)
        self.study: Final = study
        self.files: Final = files
        self.damaged: set[str] = set()
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        """Base of DICOMweb."""
        return f"http://127.0.0.1:{self.server_address[1]}/dicom-web"


class FailingHandler(BaseHTTPRequestHandler):
    server: Failing

    def do_GET(self) -> None:
        """QIDO-RS for instances, or WADO-RS for one."""
        path, _, query = self.path.partition("?")
        if path.endswith("/instances"):
            asked = dict(parse_qsl(query))
            found = asked.get("offset", "0") == "0" and asked.get("Modality", "CR") == "CR"
            self._say(200, "application/dicom+json", self._matches() if found else b"[]")
            return
        uid = path.rpartition("/")[2]
        self.server.asked.append(uid)
        if uid in self.server.damaged:
            self._say(500, "text/plain", b"the file is damaged")
        else:
            self._say(200, "application/dicom", self.server.files[uid].read_bytes())

    def _matches(self) -> bytes:
        return json.dumps(
            [
                {
                    "00080016": {"vr": "UI", "Value": [str(ComputedRadiographyImageStorage)]},
                    "00080018": {"vr": "UI", "Value": [uid]},
                    "00080060": {"vr": "CS", "Value": ["CR"]},
                    "0020000D": {"vr": "UI", "Value": [self.server.study]},
                    "0020000E": {"vr": "UI", "Value": ["1.2.3"]},
                }
                for uid in self.server.files
            ]
        ).encode()

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def failing(folder: Path, count: int) -> Iterator[Failing]:
    """Such a PACS with `count` images."""
    study = generate_uid()
    files = {
        uid: new_chest(
            folder / uid,
            SOPInstanceUID=uid,
            SOPClassUID=ComputedRadiographyImageStorage,
            StudyInstanceUID=study,
            Modality="CR",
            PatientID="1",
        )
        for uid in (str(generate_uid()) for _ in range(count))
    }
    with Failing(study, files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def images_of(running: Station, study: str) -> set[str]:
    found = httpx.get(f"{running.url}/studies/{study}").json()
    return {each["sop_instance_uid"] for each in found["images"]}


def test_an_object_that_does_not_come_holds_up_none_behind_it(tiny_bundle: Path, tmp_path: Path) -> None:
    with failing(tmp_path, 3) as server:
        first, *others = server.files
        server.damaged = {first}
        rules = {"servers": {"pacs": {"url": server.address, "every_s": 600}}, "rules": [{"name": "all"}]}
        with station(tiny_bundle, tmp_path / "archive", rules) as running:
            running.said("server=pacs 1 objects could not be fetched, 2 were. The first error: .* HTTP 500")
            assert images_of(running, server.study) == set(others)
            again = fetch(running, server.study)
            assert again.returncode == 2
            assert "1 objects could not be fetched, 0 were" in again.stderr
            server.damaged = set()
            assert "1 objects arrived" in fetch(running, server.study).stdout
            assert images_of(running, server.study) == set(server.files)


def test_objects_that_do_not_come_are_asked_for_last(tiny_bundle: Path, tmp_path: Path) -> None:
    with failing(tmp_path, 13) as server:
        *damaged, sound = server.files
        server.damaged = set(damaged)
        rules = {"servers": {"pacs": {"url": server.address}}, "rules": [{"name": "all"}]}
        with station(tiny_bundle, tmp_path / "archive", rules) as running:
            assert "10 objects could not be fetched, 0 were" in fetch(running, server.study).stderr
            assert "12 objects could not be fetched, 1 were" in fetch(running, server.study).stderr
            assert images_of(running, server.study) == {sound}
