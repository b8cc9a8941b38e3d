"""A user's work stays: many files, folders, links of the page, files that cannot be read."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests import radiographs
from tests.browser.conftest import NewVisit, Visit, jpeg_file


def test_more_files_than_can_be_open_wait_in_sight(visit: Visit) -> None:
    page = visit.page
    visit.open(*[jpeg_file(f"{number:02}.jpg") for number in range(19)])
    expect(page.locator(".radiograph")).to_have_count(16)
    expect(page.locator("#queued")).to_contain_text("3 more files wait")
    page.get_by_role("button", name="Close 00.jpg").click()
    expect(page.locator("#queued")).to_contain_text("2 more files wait")
    expect(page.get_by_role("button", name="16.jpg").first).to_be_visible()
    expect(page.locator(".radiograph")).to_have_count(16)


def test_the_files_of_a_folder_are_opened(visit: Visit, tmp_path: Path) -> None:
    """A drop of the browser's own, as a file manager makes it: Chromium reads the folder from the disk."""
    folder = tmp_path / "study"
    (folder / "inner").mkdir(parents=True)
    for path in (folder / "a.jpg", folder / "inner" / "b.jpg", folder / ".hidden.jpg"):
        path.write_bytes(radiographs.jpeg())
    page = visit.page
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 640, "y": 400, "data": data})
    expect(page.locator(".radiograph")).to_have_count(2)
    expect(page.locator(".finding")).to_have_count(14)
    expect(page.get_by_role("button", name="b.jpg").first).to_be_visible()


def test_no_link_and_no_key_throws_open_images_away(visit: Visit) -> None:
    visit.read(jpeg_file())
    page = visit.page
    with page.context.expect_page() as opened:
        page.keyboard.press("m")
    opened.value.close()
    page.locator("a.brand").click()
    expect(page.locator(".finding")).to_have_count(14)
    assert page.url == f"{visit.url}/"


def test_leaving_the_page_is_asked_about_where_images_are_open(new_visit: NewVisit) -> None:
    visit = new_visit()
    visit.read(jpeg_file())
    visit.page.locator(".view canvas").first.click()
    with visit.page.expect_event("dialog") as asked:
        visit.page.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"


def test_brackets_typed_with_altgr_change_the_window(visit: Visit) -> None:
    visit.read(jpeg_file())
    before = visit.pixels()
    visit.page.evaluate(
        """() => document.body.dispatchEvent(new KeyboardEvent('keydown', {
          key: ']', ctrlKey: true, altKey: true, modifierAltGraph: true, bubbles: true }))"""
    )
    assert visit.pixels() != before
