"""Studies fetched from a real PACS by QIDO-RS and WADO-RS."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest
from pydicom.uid import generate_uid

from cxrserve.archive.rules import PullServer
from cxrserve.pacs import pull
from cxrserve.pacs.pull import radiographs
from tests import dcmtk
from tests.orthanc import Orthanc
from tests.pacs.conftest import new_chest
from tests.stations import Station, station


@pytest.fixture(scope="module")
def puller(tiny_bundle: Path, pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station that may fetch from `pacs`, and looks there every ten seconds for images of today."""
    rules = {
        "quiet_time_s": 0.2,
        "servers": {"pacs": {"url": pacs.dicom_web, "every_s": 10, "days": 0}},
        "rules": [{"name": "all"}],
    }
    archive = tmp_path_factory.mktemp("puller") / "archive"
    with station(tiny_bundle, archive, rules) as running:
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
    assert "0 objects arrived" in fetch(puller, study).stdout


def test_new_images_are_fetched_on_schedule(puller: Station, pacs: Orthanc, tmp_path: Path) -> None:
    puller.said("cxrserve .* is ready")
    in_pacs(pacs, new_chest(tmp_path / "today.dcm", StudyDate=f"{date.today():%Y%m%d}"))
    puller.said(r"server=pacs fetched=[1-9]", timeout_s=25)


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
