"""By keyboard alone, and what axe finds: nothing, in any state, dark and light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FileChooser, Page, TimeoutError, expect

from cxrserve.findings import NAMES
from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
POSITIVE = NAMES[0]


def opened_by_key(page: Page) -> FileChooser:
    """The file chooser that the key opens; pressed again where a browser under load let a key go by."""
    for _ in range(4):
        try:
            with page.expect_file_chooser(timeout=8000) as chosen:
                page.keyboard.press("o")
            return chosen.value
        except TimeoutError:
            continue
    raise AssertionError("the key opened no file chooser")


def test_everything_can_be_done_by_keyboard(visit: Visit) -> None:
    page = visit.page
    expect(page.get_by_role("heading", name="Drop a chest radiograph here")).to_be_visible()
    opened_by_key(page).set_files([dicom_file("a.dcm"), dicom_file("b.dcm")])
    expect(page.locator(".view[data-painted]:visible")).to_have_count(2)
    expect(page.locator(".finding")).to_have_count(14)
    page.keyboard.press("j")
    first = page.locator(".finding").first
    expect(first).to_have_attribute("aria-selected", "true")
    first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".finding").nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".finding").nth(1)).to_be_focused()
    page.keyboard.press("h")
    expect(page.get_by_role("radio", name="Contours")).to_have_attribute("aria-checked", "true")
    page.keyboard.press("s")
    expect(page.get_by_role("radio", name="Scale 64")).to_have_attribute("aria-checked", "true")
    before = visit.pixels()
    for key in ("i", "]", "r", "+"):
        page.keyboard.press(key)
        after = visit.pixels()
        assert after != before, key
        before = after
    page.keyboard.press("v")
    expect(page.locator(".view").nth(1).locator("canvas")).to_be_focused()
    page.keyboard.press("z")
    expect(page.locator("#zoom-value")).to_have_text("100 %")
    page.keyboard.press("l")
    page.keyboard.press("l")
    expect(page.locator(".view:visible")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("[role=option][aria-selected=true]")).to_have_count(0)
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next finding")


def test_single_keys_can_be_switched_off(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("?")
    page.get_by_label("Single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_every_control_can_be_reached_by_tab(visit: Visit) -> None:
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    page = visit.page
    seen = set()
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                """() => {
                  const node = document.activeElement;
                  return node.id || node.getAttribute('role') || node.tagName;
                }"""
            )
        )
    assert {
        "open",
        "help-button",
        "theme",
        "presets",
        "export",
        "opacity",
        "application",
        "option",
        "radio",
    } <= seen


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing(new_visit: NewVisit, scheme: str) -> None:
    visit = new_visit(color_scheme=scheme, bypass_csp=True)  # axe is put into the page from outside
    page = visit.page
    page.add_script_tag(path=AXE)
    expect(page.get_by_role("heading", name="Drop a chest radiograph here")).to_be_visible()
    assert violations(visit) == []
    visit.read(dicom_file(), jpeg_file())
    visit.finding(POSITIVE)
    visit.settle()
    page.wait_for_timeout(300)  # colours glide
    assert violations(visit) == []
    page.keyboard.press("e")
    assert violations(visit) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert violations(visit) == []
    page.keyboard.press("Escape")
    visit.open({"name": "bad", "mimeType": "text/plain", "buffer": b"bad"})
    page.get_by_role("button", name="bad").first.click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(visit) == []
    page.goto(f"{visit.url}/viewer/model.html")
    expect(page.locator(".stackbar")).to_have_count(14)
    page.add_script_tag(path=AXE)
    assert violations(visit) == []


def violations(visit: Visit) -> list[str]:
    """Every fault that axe finds in the page as it stands."""
    found: dict[str, Any] = visit.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{fault['id']}: {fault['nodes'][0]['html'][:160]} {fault['nodes'][0]['failureSummary'][:300]}"
        for fault in found["violations"]
    ]
