"""Images of the archive are shown and analysed where they lie: no film comes to the page, none leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Request, Route, expect
from pydicom.uid import generate_uid

from tests import radiographs
from tests.browser.conftest import NewVisit
from tests.stations import Station, station


@pytest.fixture(scope="module")
def archived(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station without a PACS behind it."""
    folder = tmp_path_factory.mktemp("archived") / "archive"
    with station(tiny_bundle, folder, {"quiet_time_s": 0.2, "rules": [{"name": "all"}]}) as running:
        yield running


def test_no_film_travels(new_visit: NewVisit, archived: Station) -> None:
    study, image = generate_uid(), generate_uid()
    film = radiographs.dicom(StudyInstanceUID=study, SOPInstanceUID=image, PatientOrientation=["L", "F"])
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + film + b"\r\n--b--\r\n"
    head = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    httpx.post(f"{archived.url}/dicom-web/studies", content=body, headers=head, timeout=60).raise_for_status()
    visit = new_visit(archived.url)
    page = visit.page
    row = page.locator(f'.study[data-study="{study}"]')
    expect(row).to_contain_text("Atelectasis")  # the stored answer is there
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))
    row.click()
    expect(page.locator(".view[data-painted]").first).to_be_visible()
    expect(page.locator(".finding")).to_have_count(14)
    assert max(visit.pixels()) > 100
    visit.finding("Cardiomegaly")  # negative: its map was not kept, and is made now
    expect(page.locator(".legend")).to_be_visible()
    paths = [(each.method, each.url.removeprefix(archived.url).partition("?")[0]) for each in requests]
    place = f"/studies/{study}/images/{image}"
    assert {("GET", f"{place}/display"), ("GET", f"{place}/answer"), ("POST", f"{place}/predict")} <= set(
        paths
    )
    assert ("GET", place) not in paths, "the file itself"
    assert not {path for _, path in paths} & {"/display", "/predict"}
    assert [each.post_data_buffer for each in requests if each.post_data_buffer] == []


def test_an_image_that_waits_is_predicted_where_it_lies(new_visit: NewVisit, archived: Station) -> None:
    study, image = generate_uid(), generate_uid()
    film = radiographs.dicom(StudyInstanceUID=study, SOPInstanceUID=image)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + film + b"\r\n--b--\r\n"
    head = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    httpx.post(f"{archived.url}/dicom-web/studies", content=body, headers=head, timeout=60).raise_for_status()
    visit = new_visit(archived.url)
    page = visit.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))

    def as_waiting(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["images"][0]["state"] = "waiting"
        route.fulfill(response=answer, json=body)

    page.route(f"**/studies/{study}", as_waiting)
    page.locator(f'.study[data-study="{study}"]').click()
    expect(page.locator(".finding")).to_have_count(14)
    assert any(f"/images/{image}/predict?" in each for each in asked)
    assert not any(each.endswith("/answer") for each in asked)
    page.unroute_all(behavior="ignoreErrors")
