"""OHIF's own build before a real PACS: it shows the overlay, and the report as text.

The package is large (50 MB, 204 MB unpacked, without what it depends on), so this runs where OHIF_DIST names
its folder `dist`:

    npm pack @ohif/app@3.13.2 && tar xf ohif-app-3.13.2.tgz
    OHIF_DIST=$PWD/package/dist pytest tests/browser/test_ohif.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pydicom.uid import generate_uid

from cxrserve.findings import NAMES
from tests import radiographs
from tests.browser.ohif import ohif
from tests.orthanc import Orthanc, orthanc
from tests.stations import station

BUILD = Path(os.environ.get("OHIF_DIST", ""))
REPORTS_AS_TEXT = Path(__file__).resolve().parents[2] / "deploy" / "ohif" / "reports_as_text.js"
TYPE = 'multipart/related; type="application/dicom"; boundary=b'

pytestmark = pytest.mark.skipif(
    "OHIF_DIST" not in os.environ, reason="OHIF_DIST does not name OHIF's folder dist"
)


@pytest.fixture(scope="module")
def analysed(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, str]]:
    """A PACS with a film, its overlay and its report, and the Study Instance UID of all three."""
    folder, study = tmp_path_factory.mktemp("ohif"), generate_uid()
    uids = {"SOPInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "StudyInstanceUID": study}
    film = radiographs.dicom(600, 500, PatientID="O-1", PatientName="Doe^Jane", StudyDate="20260304", **uids)
    with orthanc(folder / "orthanc") as pacs:
        rules = {
            "quiet_time_s": 0.2,
            "destinations": {"pacs": {"protocol": "stow", "url": pacs.dicom_web}},
            "rules": [{"name": "all", "destinations": ["pacs"], "results": ["report", "overlay"]}],
        }
        httpx.post(f"{pacs.url}/instances", content=film, timeout=60).raise_for_status()
        with station(tiny_bundle, folder / "archive", rules) as running:
            body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + film + b"\r\n--b--\r\n"
            headers = {"Content-Type": TYPE}
            sent = httpx.post(f"{running.url}/dicom-web/studies", content=body, headers=headers, timeout=60)
            sent.raise_for_status()
            pacs.wait_for_study(study, 3, 120)
        yield pacs, study


def opened(browser: Browser, url: str, study: str) -> Page:
    """OHIF with the study; its first image is there."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.add_init_script("localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{url}/viewer?StudyInstanceUIDs={study}")
    expect(series(page)).to_have_count(3, timeout=60_000)
    expect(viewport(page).locator("canvas")).to_be_visible(timeout=60_000)
    return page


def series(page: Page) -> Locator:
    return page.locator('[data-cy^="study-browser-thumbnail"]')


def viewport(page: Page) -> Locator:
    return page.locator('[data-cy="viewport-pane"]')


def coloured(page: Page) -> int:
    """Pixels of the middle of the viewport that are no greys, and are none of OHIF's blue."""
    data = np.frombuffer(viewport(page).screenshot(), np.uint8)
    picture_HWC = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture_HWC is not None
    blue_HW, _, red_HW = (picture_HWC[100:-120, 100:-100, channel].astype(int) for channel in range(3))
    return int((red_HW - blue_HW > 60).sum())


def test_the_overlay_is_shown_and_the_report_is_read(browser: Browser, analysed: tuple[Orthanc, str]) -> None:
    pacs, study = analysed
    with ohif(BUILD, pacs, REPORTS_AS_TEXT.read_text()) as url:
        page = opened(browser, url, study)
        assert coloured(page) == 0, "the film is grey"
        series(page).filter(has_text="cxrserve overlay").dblclick()
        expect(page.locator('[data-cy="viewport-overlay-top-left"]')).to_contain_text("cxrserve overlay")
        for _ in range(60):
            if coloured(page) > 2000:
                break
            page.wait_for_timeout(500)
        assert coloured(page) > 2000
        series(page).filter(has_text="cxrserve report").dblclick()
        report = viewport(page)
        expect(report).to_contain_text("Research use only. Not a medical device", timeout=60_000)
        expect(report).to_contain_text("1.1.14. Measurement Group")
        text = report.inner_text()
        assert all(name in text for name in NAMES)
        expect(page.get_by_text("Something went wrong")).to_have_count(0)
        page.context.close()


def test_ohif_without_our_file_stops_at_findings_without_coordinates(
    browser: Browser, analysed: tuple[Orthanc, str]
) -> None:
    """OHIF reads coords[0].ReferencedSOPSequence of each group. Once it does not, the file is needless."""
    pacs, study = analysed
    with ohif(BUILD, pacs) as url:
        page = opened(browser, url, study)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        series(page).filter(has_text="cxrserve report").dblclick()
        expect(page.get_by_text("Something went wrong").first).to_be_visible(timeout=60_000)
        assert any("(reading 'ReferencedSOPSequence')" in line for line in said)
        page.context.close()
