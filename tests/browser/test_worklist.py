"""The worklist of a real station: studies that came by STOW-RS, searched, opened, live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect
from pydicom.uid import generate_uid

from tests import radiographs
from tests.browser.conftest import NewVisit
from tests.orthanc import orthanc
from tests.stations import Station, station

TYPE = 'multipart/related; type="application/dicom"; boundary=b'


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


def film(name: str, **elements: Any) -> tuple[str, bytes]:
    """A study of one image: its UID, and the body that stores it."""
    study: str = generate_uid()
    file = radiographs.dicom(
        PatientName=name,
        PatientID=name.lower(),
        StudyInstanceUID=study,
        SeriesInstanceUID=generate_uid(),
        SOPInstanceUID=generate_uid(),
        PatientOrientation=["L", "F"],
        **elements,
    )
    return study, b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--b--\r\n"


def _send(url: str, name: str, **elements: Any) -> str:
    """Store a study of one image. Its Study Instance UID."""
    study, body = film(name, **elements)
    sent = httpx.post(f"{url}/dicom-web/studies", content=body, headers={"Content-Type": TYPE}, timeout=60)
    assert sent.status_code == 200, sent.text
    return study


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
    expect(page.get_by_role("heading", name="Contribution of each scale")).to_be_visible()
    expect(page.locator(".legend")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_text("No study matches.")).to_be_visible()


def test_an_address_opens_a_study_and_a_finding(new_visit: NewVisit, archived: Station) -> None:
    study = _send(archived.url, "Linked^Here")
    page = new_visit(archived.url, f"/?study={study}&finding=Atelectasis").page
    expect(page.locator(".corner.nw").first).to_contain_text("Linked, Here")
    expect(page.locator('[data-finding="Atelectasis"]')).to_have_attribute("aria-selected", "true")
    expect(page.locator(f'.study[data-study="{study}"]')).to_have_attribute("aria-current", "true")
    other = new_visit(archived.url, "/?study=1.2.3").page
    expect(other.locator("#connection")).to_contain_text("not in the archive of this service")


def test_fetched_priors_are_no_new_work_and_stand_below_the_opened_study(
    new_visit: NewVisit, tiny_bundle: Path, tmp_path: Path
) -> None:
    prior = generate_uid()
    about: dict[str, Any] = {"PatientID": "p-1", "PatientName": "P-1"}
    file = radiographs.dicom(
        StudyInstanceUID=prior, SOPInstanceUID=generate_uid(), StudyDate="20240105", **about
    )
    with orthanc(tmp_path / "orthanc") as pacs:
        httpx.post(f"{pacs.url}/instances", content=file, timeout=60).raise_for_status()
        rules = {
            "quiet_time_s": 0.2,
            "servers": {"pacs": {"url": pacs.dicom_web}},
            "rules": [{"name": "all", "priors": {"server": "pacs"}}],
        }
        with station(tiny_bundle, tmp_path / "archive", rules, decode_workers=2) as running:
            current = _send(running.url, "P-1", StudyDate="20260304")
            running.said(r"job=\S+-priors .*state=done")
            other = _send(running.url, "Other^Work")
            page = new_visit(running.url).page
            rows = page.locator(".study")

            def shown() -> list[str]:
                found: list[str] = rows.evaluate_all("rows => rows.map(row => row.dataset.study)")
                return found

            expect(rows).to_have_count(3)
            assert shown() == [other, current, prior]
            expect(rows.nth(2).locator(".tag").last).to_have_text("prior")
            expect(rows.nth(1)).not_to_contain_text("prior")
            rows.nth(1).click()
            expect(page.locator(".finding")).to_have_count(14)
            expect(page.get_by_role("button", name="Compare")).to_have_count(1)
            assert shown() == [other, current, prior]
            newest = _send(running.url, "P-1", StudyDate="20260305")
            rows.filter(has_text="2026-03-05").click()
            expect(page.locator(f'.study[data-study="{newest}"]')).to_have_attribute("aria-current", "true")
            expect(rows.nth(1)).to_contain_text("2024-01-05")
            assert shown() == [newest, prior, other, current]


def test_a_prior_stands_beside_the_current_study_and_moves_with_it(
    new_visit: NewVisit, archived: Station
) -> None:
    prior = _send(archived.url, "Again^Here", StudyDate="20240105")
    current = _send(archived.url, "Again^Here", StudyDate="20260304")
    visit = new_visit(archived.url, f"/?study={current}")
    page = visit.page
    expect(page.locator(".finding")).to_have_count(14)
    expect(page.locator(f'.study[data-study="{prior}"]')).to_contain_text("2024-01-05")
    expect(page.get_by_role("button", name="Compare")).to_have_count(1)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".view[data-painted]:visible")).to_have_count(2)
    expect(page.locator(".view").nth(1).locator(".corner.nw")).to_contain_text("2024-01-05")
    row = page.locator('[data-finding="Atelectasis"]')
    expect(row.locator(".bar s")).to_be_attached()
    expect(row).to_have_attribute("title", re.compile(r"; 0\.\d\d on 2024-01-05$"))
    zooms = [page.locator(".view").nth(index).locator(".corner.sw") for index in (0, 1)]
    fitted = [zoom.text_content() or "" for zoom in zooms]
    for key in ("+", "]"):
        page.keyboard.press(key)
        for zoom, before in zip(zooms, fitted, strict=True):
            expect(zoom).not_to_have_text(before)
        fitted = [zoom.text_content() or "" for zoom in zooms]
        assert fitted[0] == fitted[1], key
    page.keyboard.press("y")
    page.keyboard.press("+")
    expect(zooms[0]).not_to_have_text(fitted[0])
    expect(zooms[1]).to_have_text(fitted[1])
