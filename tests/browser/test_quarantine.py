"""The quarantine in the viewer of a real station: seen, decided on and recorded, by those who may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from pydicom.uid import generate_uid

from tests import radiographs
from tests.browser.conftest import NewVisit, Visit
from tests.browser.test_access import AXE, violations
from tests.stations import Station, station
from tests.waiting import until

TYPE = 'multipart/related; type="application/dicom"; boundary=b'
SCOPES = {"dr-a": ["read", "predict", "quarantine"], "reader": ["read", "predict"], "modality": ["store"]}
TEMPORARY = {
    "PatientID": "TMP-1",
    "PatientName": "UNKNOWN^TRAUMA",
    "AccessionNumber": "E-1",
    "PatientSex": "F",
}
RIGHT = {
    "PatientID": "REAL-1",
    "PatientName": "Meier^Anna",
    "PatientBirthDate": "19600229",
    "PatientSex": "F",
}


def token(client: str) -> str:
    return f"{client}-0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A station whose clients have scopes, and its audit trail."""

    station: Station
    trail: Path

    @property
    def url(self) -> str:
        return self.station.url

    def send(self, study: str, **elements: Any) -> str:
        """Store one image; its SHA-256."""
        file = radiographs.dicom(
            StudyInstanceUID=study,
            SeriesInstanceUID=generate_uid(),
            SOPInstanceUID=generate_uid(),
            PatientOrientation=["L", "F"],
            **elements,
        )
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n--b--\r\n"
        headers = {"Content-Type": TYPE, "Authorization": f"Bearer {token('modality')}"}
        sent = httpx.post(f"{self.url}/dicom-web/studies", content=body, headers=headers, timeout=60)
        assert sent.status_code == 200, sent.text
        return sha256(file).hexdigest()

    def study(self, uid: str) -> tuple[str, int]:
        """Its Patient ID and the number of its images."""
        headers = {"Authorization": f"Bearer {token('reader')}"}
        found = httpx.get(f"{self.url}/studies/{uid}", headers=headers, timeout=60).json()
        return found["patient_id"], len(found["images"])

    def events(self) -> list[dict[str, Any]]:
        """Lines of the audit trail about requests with a name."""
        rows = [json.loads(line) for line in self.trail.read_text().splitlines()]
        return [row for row in rows if row.get("user") == "dr-a" and row["outcome"] == "success"]


@pytest.fixture
def guarded(tiny_bundle: Path, tmp_path: Path) -> Iterator[Guarded]:
    clients, trail = tmp_path / "clients.toml", tmp_path / "audit.jsonl"
    clients.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token(name).encode()).hexdigest()}"\nscopes = {scopes}\n'
            for name, scopes in SCOPES.items()
        )
    )
    rules = {"quiet_time_s": 0.2, "rules": [{"name": "all", "match": {"modality": ["CR", "DX"]}}]}
    more = {"clients": clients, "audit": f"file:{trail}", "decode_workers": 2}
    with station(tiny_bundle, tmp_path / "archive", rules, **more) as running:
        yield Guarded(station=running, trail=trail)


def signed_in(new_visit: NewVisit, guarded: Guarded, client: str, **options: Any) -> Visit:
    visit = new_visit(guarded.url, **options)
    visit.page.locator("#token-field").fill(token(client))
    visit.page.keyboard.press("Enter")
    return visit


def held(page: Page, digest: str) -> Locator:
    return page.locator(f'[data-held="{digest}"]')


def test_a_held_image_is_looked_at_and_decided_on(new_visit: NewVisit, guarded: Guarded) -> None:
    study = generate_uid()
    guarded.send(study, **TEMPORARY)
    drop, move, release = (guarded.send(study, **RIGHT) for _ in range(3))
    visit = signed_in(new_visit, guarded, "dr-a")
    page = visit.page
    button = page.locator("#open-quarantine")
    expect(button).to_have_text("3 in quarantine: decide")
    button.click()

    rows = held(page, drop).locator("tbody tr")
    expect(held(page, drop)).to_contain_text("names another patient than its study in the archive")
    expect(rows.filter(has_text="Name")).to_contain_text("Meier, Anna")
    expect(rows.filter(has_text="Name")).to_contain_text("UNKNOWN, TRAUMA")
    expect(rows.filter(has_text="Patient ID").locator("td")).to_have_text(["REAL-1", "TMP-1"])
    expect(rows.filter(has_text="Accession").locator("td")).to_have_text(["nothing", "E-1"])
    expect(rows.filter(has_text="Born").locator("td")).to_have_text(["1960-02-29", "nothing"])
    expect(rows.filter(has_text="differs")).to_have_count(4)
    expect(rows.filter(has_text="Sex").locator("td")).to_have_text(["F", "F"])

    held(page, drop).get_by_role("button", name="Look at the image").click()
    expect(page.locator(".view[data-painted]:visible")).to_have_count(2)
    corners = page.locator(".view:visible .corner.nw")
    expect(corners.filter(has_text="Meier")).to_have_count(1)
    expect(corners.filter(has_text="UNKNOWN")).to_have_count(1)

    page.keyboard.press("u")
    delete = held(page, drop).get_by_role("button", name="Delete the image")
    delete.click()
    expect(page.get_by_role("button", name="Not now")).to_be_focused()
    expect(page.get_by_role("group", name="Confirm")).to_contain_text("deleted for good")
    page.keyboard.press("Enter")  # not now
    expect(delete).to_be_focused()
    expect(page.locator("[data-held]")).to_have_count(3)
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Delete for good")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#quarantine-said")).to_have_text("The image was deleted.")
    expect(page.locator("[data-held]")).to_have_count(2)
    assert guarded.study(study) == ("TMP-1", 1)

    held(page, move).get_by_role("button", name="The archive is right").click()
    expect(page.get_by_role("group", name="Confirm")).to_contain_text(
        "taken in under UNKNOWN, TRAUMA (TMP-1)"
    )
    page.get_by_role("button", name="Yes, the archive is right").click()
    expect(page.locator("#quarantine-said")).to_have_text("The image was moved.")
    assert guarded.study(study) == ("TMP-1", 2)

    held(page, release).get_by_role("button", name="The image is right").click()
    expect(page.get_by_role("group", name="Confirm")).to_contain_text("moves to Meier, Anna (REAL-1)")
    page.get_by_role("button", name="Yes, the image is right").click()
    expect(page.locator("#quarantine-said")).to_have_text("The image was released.")
    expect(page.get_by_text("The quarantine is empty.")).to_be_visible()
    assert guarded.study(study) == ("REAL-1", 3)
    page.keyboard.press("Escape")
    expect(button).to_be_hidden()
    expect(page.locator(".study")).to_contain_text("REAL-1")

    def decided() -> list[tuple[str, str]]:
        return [
            (row["action"], row["images"][0])
            for row in guarded.events()
            if row["action"] in ("delete", "release")
        ]

    until(lambda: len(decided()) == 3)
    assert [action for action, _ in decided()] == ["delete", "release", "release"]
    assert all(
        "REAL-1" in row["patients"] for row in guarded.events() if row["action"] in ("delete", "release")
    )
    assert all(row["detail"] for row in guarded.events() if row["action"] == "delete")


def test_without_the_scope_images_are_seen_and_not_decided_on(new_visit: NewVisit, guarded: Guarded) -> None:
    study = generate_uid()
    guarded.send(study, **TEMPORARY)
    digest = guarded.send(study, **RIGHT)
    page = signed_in(new_visit, guarded, "reader").page
    page.locator("#open-quarantine").click()
    expect(held(page, digest)).to_contain_text("needs the scope quarantine")
    expect(held(page, digest).get_by_role("button")).to_have_text(["Look at the image"])


def test_a_decision_that_came_too_late_is_said(new_visit: NewVisit, guarded: Guarded) -> None:
    study = generate_uid()
    guarded.send(study, **TEMPORARY)
    digest = guarded.send(study, **RIGHT)
    page = signed_in(new_visit, guarded, "dr-a").page
    page.locator("#open-quarantine").click()
    held(page, digest).get_by_role("button", name="Delete the image").click()
    headers = {"Authorization": f"Bearer {token('dr-a')}"}
    assert httpx.post(f"{guarded.url}/quarantine/{digest}/move", headers=headers, timeout=60).is_success
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#quarantine").get_by_role("alert")).to_contain_text("No quarantined object")
    expect(page.get_by_text("The quarantine is empty.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_in_the_quarantine(
    new_visit: NewVisit, guarded: Guarded, scheme: str, width: int
) -> None:
    study = generate_uid()
    guarded.send(study, **TEMPORARY)
    digest = guarded.send(study, **RIGHT | {"PatientID": "R" * 60})
    viewport = {"width": width, "height": 800}
    visit = signed_in(
        new_visit, guarded, "dr-a", color_scheme=scheme, viewport=viewport, bypass_csp=True
    )  # axe is put into the page from outside
    page = visit.page
    page.add_script_tag(path=AXE)
    expect(page.locator("#open-quarantine")).to_be_visible()
    assert violations(visit) == []
    page.locator("#open-quarantine").click()
    expect(held(page, digest)).to_be_visible()
    page.wait_for_timeout(300)  # colours glide
    assert violations(visit) == []
    held(page, digest).get_by_role("button", name="Delete the image").click()
    assert violations(visit) == []
    wide = page.evaluate(
        "() => { const sheet = document.getElementById('quarantine');"
        " return [sheet.scrollWidth - sheet.clientWidth,"
        " document.documentElement.scrollWidth - innerWidth]; }"
    )
    assert max(wide) <= 0, wide
