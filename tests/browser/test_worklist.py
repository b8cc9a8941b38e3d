"""The worklist of a real station: studies that came by STOW-RS, searched, opened, live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect
from pydicom.uid import generate_uid

from tests import radiographs
from tests.browser.conftest import NewVisit
from tests.stations import Station, station

_TYPE = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.fixture(scope="module")
def archived(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station without a PACS behind it."""
    with station(
        tiny_bundle,
        tmp_path_factory.mktemp("station") / "archive",
        {"quiet_time_s": 0.2, "rules": [{"name": "all", "match": {"modality": ["CR", "DX"]}}]},
        decode_workers=2,
    ) as running:
        yield running


def _send(url: str, name: str) -> None:
    """Store a study of one image."""
    file = radiographs.dicom(
        PatientName=name,
        PatientID=name.lower(),
        StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        SOPInstanceUID=generate_uid(),
        PatientOrientation=["L", "F"],
    )
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--b--\r\n"
    sent = httpx.post(f"{url}/dicom-web/studies", content=body, headers={"Content-Type": _TYPE}, timeout=60)
    assert sent.status_code == 200, sent.text


def test_studies_are_listed_live_searched_and_opened(new_visit: NewVisit, archived: Station) -> None:
    _send(archived.url, "Early^Bird")
    visit = new_visit(archived.url)
    page = visit.page
    rows = page.locator(".study")
    expect(rows).to_have_count(1)
    _send(archived.url, "<img src=x onerror=alert(1)>")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("<img src=x onerror=alert(1)>")  # the newest first, and as text
    expect(rows.first).to_contain_text("above" if "none" in rows.first.inner_text() else "Atelectasis")
    page.get_by_label("Search the studies").fill("bird")
    expect(rows).to_have_count(1)
    rows.first.click()
    expect(page.locator(".view[data-painted]").first).to_be_visible()
    expect(page.locator(".finding")).to_have_count(14)
    expect(page.locator(".corner.nw").first).to_contain_text("Early, Bird")
    visit.finding("Cardiomegaly")  # negative: its map was not kept, and is made now
    expect(page.get_by_role("heading", name="How the scales voted")).to_be_visible()
    expect(page.locator(".legend")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_text("No study matches.")).to_be_visible()
