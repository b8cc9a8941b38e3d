"""The reader's own cardiothoracic ratio: two drags or keys alone, millimetres where known, nothing sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import radiographs
from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file
from tests.browser.test_access import AXE, violations

FINDING = "Cardiomegaly"
SPACED: dict[str, Any] = {"ImagerPixelSpacing": [0.2, 0.8], "ViewPosition": "AP"}
COLUMNS_MM = radiographs.COLUMNS * 0.8
ROWS_MM = radiographs.ROWS * 0.2


def pick(visit: Visit) -> None:
    """Pick the finding by key: it may be one below its operating point, far down the list."""
    visit.page.locator(f'[data-finding="{FINDING}"]').click()
    expect(visit.page.locator("#ratio")).to_be_visible()


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A drag between two places, given as shares of the shown picture."""
    box = page.evaluate(
        """async () => {
          const { views } = await import('/viewer/js/main.js');
          const { geometry, size, canvas } = views[0];
          const box = canvas.getBoundingClientRect(), matrix = geometry.matrix(size);
          const corners = [[0, 0], [geometry.width, geometry.height]].map(
            ([x, y]) => matrix.transformPoint(new DOMPoint(x, y)));
          const xs = corners.map(each => each.x / devicePixelRatio);
          const ys = corners.map(each => each.y / devicePixelRatio);
          return { x: box.left + Math.min(...xs), y: box.top + Math.min(...ys),
                   width: Math.abs(xs[1] - xs[0]), height: Math.abs(ys[1] - ys[0]) };
        }"""
    )
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move((at[0][0] + at[1][0]) / 2, (at[0][1] + at[1][1]) / 2)
    page.mouse.move(*at[1])
    page.mouse.up()


def measured(page: Page) -> tuple[float, float, float]:
    """The ratio, and the lengths of heart and thorax in millimetres."""
    text = page.locator("#ratio .ratio-value").inner_text()
    found = re.search(r"([\d.]+)\s+heart (\d+) mm, thorax (\d+) mm", text)
    assert found is not None, text
    ratio, heart, thorax = found.groups()
    return float(ratio), float(heart), float(thorax)


def test_two_drags_measure_in_millimetres_and_send_nothing(visit: Visit) -> None:
    visit.read(dicom_file(**SPACED))
    pick(visit)
    page = visit.page
    visit.settle()
    picture, asked = visit.pixels(), []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Measure").click()
    drag(page, (0.5, 0.5), (0.5, 0.5))  # a click draws nothing
    expect(page.locator("#ratio-value")).to_have_text("–")
    expect(page.locator(".ratio-next")).to_contain_text("Now drag across the heart")
    drag(page, (0.3, 0.6), (0.6, 0.7))  # level, although the hand is not
    expect(page.locator(".ratio-next")).to_contain_text("Now drag across the thorax")
    drag(page, (0.12, 0.72), (0.92, 0.72))  # it begins on an end of the line that is not drawn yet
    ratio, heart, thorax = measured(page)
    assert heart == pytest.approx(0.3 * COLUMNS_MM, abs=0.02 * COLUMNS_MM)
    assert thorax == pytest.approx(0.8 * COLUMNS_MM, abs=0.02 * COLUMNS_MM)
    assert ratio == pytest.approx(0.375, abs=0.02)
    panel = page.locator("#ratio")
    expect(panel).to_contain_text("your measurement")
    expect(panel).to_contain_text("at the detector")
    expect(panel).to_contain_text("On an AP view the heart appears larger")
    assert visit.pixels() == picture, "measuring left window and position alone"
    # An end follows the mouse, and a drag beside the lines windows again.
    end = page.get_by_role("slider", name="Heart, second end").bounding_box()
    assert end is not None
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2)
    page.mouse.down()
    page.mouse.move(end["x"] - 40, end["y"])
    page.mouse.up()
    assert measured(page)[1] < heart
    drag(page, (0.5, 0.2), (0.6, 0.3))
    assert visit.pixels() != picture
    assert asked == []
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".calipers:visible")).to_have_count(0)
    expect(page.locator("#ratio-value")).to_have_count(0)


def test_it_can_be_measured_by_keys_alone(visit: Visit) -> None:
    visit.read(dicom_file(**SPACED))
    pick(visit)
    page = visit.page
    page.locator("#ratio-measure").focus()
    page.keyboard.press("Enter")
    heart = page.get_by_role("slider", name="Heart, first end")
    expect(heart).to_be_focused()
    start = int(heart.get_attribute("aria-valuenow") or "0")
    page.keyboard.press("ArrowRight")
    expect(heart).not_to_have_attribute("aria-valuenow", str(start))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#ratio-value")).to_have_text("–")  # the thorax is not drawn yet
    expect(page.get_by_role("slider", name="Thorax, first end")).to_have_attribute(
        "aria-valuetext", re.compile("Thorax not drawn yet")
    )
    for name in ("Heart, second end", "Thorax, first end"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("slider", name=name)).to_be_focused()
    page.keyboard.press("ArrowUp")
    ratio, _, thorax = measured(page)
    assert ratio == pytest.approx(0.30 / 0.76, abs=0.01)
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#ratio .ratio-value")).not_to_contain_text(f"thorax {thorax:.0f} mm")
    assert measured(page)[2] > thorax


def test_on_a_turned_picture_the_other_spacing_counts(visit: Visit) -> None:
    visit.read(dicom_file(**SPACED))
    pick(visit)
    page = visit.page
    page.locator(".view canvas").first.focus()
    page.keyboard.press("r")
    visit.settle()
    page.get_by_role("button", name="Measure").click()
    drag(page, (0.3, 0.5), (0.6, 0.5))
    drag(page, (0.1, 0.8), (0.9, 0.8))
    ratio, heart, thorax = measured(page)
    assert heart == pytest.approx(0.3 * ROWS_MM, abs=0.02 * ROWS_MM)
    assert thorax == pytest.approx(0.8 * ROWS_MM, abs=0.02 * ROWS_MM)
    assert ratio == pytest.approx(0.375, abs=0.02)


def test_without_a_spacing_there_is_a_ratio_alone_and_it_belongs_to_its_film(visit: Visit) -> None:
    visit.read(jpeg_file("one.jpg"), jpeg_file("two.jpg"))
    page = visit.page
    pick(visit)
    page.keyboard.press("l")
    page.keyboard.press("l")  # one view
    visit.settle()
    page.get_by_role("button", name="Measure").click()
    drag(page, (0.3, 0.6), (0.6, 0.6))
    drag(page, (0.1, 0.8), (0.9, 0.8))
    expect(page.locator("#ratio-value")).to_have_text(re.compile(r"0\.3[678]"))
    expect(page.locator("#ratio")).to_contain_text("no pixel spacing, so no millimetres")
    page.locator("button.radiograph", has_text="two.jpg").click()
    expect(page.locator("#ratio-value")).to_have_count(0)
    page.locator("button.radiograph", has_text="one.jpg").click()
    expect(page.locator("#ratio-value")).to_have_text(re.compile(r"0\.3[678]"))
    page.locator('[data-finding="Edema"]').click()
    expect(page.locator("#ratio")).to_be_hidden()
    expect(page.locator(".calipers:visible")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 720, 1024, 1440])
def test_axe_finds_nothing_while_measuring(new_visit: NewVisit, scheme: str, width: int) -> None:
    visit = new_visit(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
    visit.read(dicom_file(**SPACED))
    pick(visit)
    page = visit.page
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_role("slider", name="Heart, first end")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.add_script_tag(path=AXE)
    page.wait_for_timeout(300)  # colours glide
    assert violations(visit) == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
