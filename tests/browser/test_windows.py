"""Windows of every width, dark, light, in forced colours and by touch; the page on paper."""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests import radiographs
from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file
from tests.browser.test_access import AXE, POSITIVE, violations

WIDTHS = [(390, 844), (720, 450), (1024, 768), (1440, 900), (2560, 1440)]


def test_everything_can_be_reached_at_every_width_and_axe_finds_nothing(new_visit: NewVisit) -> None:
    """720 is a window of 1440 at 200 % zoom."""
    visit = new_visit(bypass_csp=True)
    page = visit.page
    visit.read(dicom_file(), jpeg_file())
    visit.finding(POSITIVE)
    page.add_script_tag(path=AXE)
    for width, height in WIDTHS:
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            visit.settle()
            page.wait_for_timeout(200)  # colours glide
            assert violations(visit) == [], (width, scheme)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        for reached in ("#open", ".finding >> nth=13", "#details .facts", "#opacity", "#export"):
            place = page.locator(reached)
            place.scroll_into_view_if_needed()
            box = place.bounding_box()
            assert box is not None
            assert box["x"] >= 0, (width, reached)
            assert box["x"] + box["width"] <= width, (width, reached)
        canvas = page.locator(".view canvas").first.bounding_box()
        assert canvas is not None
        assert min(canvas["width"], canvas["height"]) >= 200, width


def test_the_first_screen_fits_a_telephone(new_visit: NewVisit) -> None:
    page = new_visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).page
    expect(page.get_by_role("button", name="Choose files")).to_be_in_viewport(ratio=1)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_fingers_get_large_targets_and_the_buttons_that_hovering_shows(new_visit: NewVisit) -> None:
    visit = new_visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    visit.read(jpeg_file())
    page = visit.page
    visit.finding(POSITIVE)
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input[type=range], [role=option]')]
          .filter(node => node.checkVisibility())
          .map(node => [node.getBoundingClientRect(), node.outerHTML.slice(0, 120)])
          .filter(([box]) => Math.min(box.width, box.height) < 44)
          .map(([box, html]) => `${box.width} x ${box.height} ${html}`)"""
    )
    assert small == []
    page.get_by_role("button", name="Close chest.jpg").tap()
    expect(page.get_by_role("heading", name="Drop a chest radiograph here")).to_be_visible()


def test_bars_and_choices_stay_in_forced_colours(new_visit: NewVisit) -> None:
    visit = new_visit(forced_colors="active")
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    visit.settle()
    page = visit.page
    colours = page.evaluate(
        """name => {
          const of = (selector, property = 'backgroundColor') =>
            getComputedStyle(document.querySelector(selector))[property];
          const row = `[data-finding="${name}"]`;
          return {
            page: of('body'), bar: of('.finding:not([aria-selected=true]) .bar i'),
            tick: of('.finding .bar b'),
            picked: of(row), other: of(`.finding:not(${row})`),
            chosen: of('[role=radio][aria-checked=true]'), unchosen: of('[role=radio][aria-checked=false]'),
            edge: of('#open', 'borderTopWidth'),
          };
        }""",
        POSITIVE,
    )
    assert colours["bar"] != colours["page"]
    assert colours["tick"] != colours["page"]
    assert colours["picked"] != colours["other"]
    assert colours["chosen"] != colours["unchosen"]
    assert colours["edge"] == "1px"


def test_the_printed_radiograph_has_the_proportions_of_the_screen(visit: Visit) -> None:
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    visit.settle()
    sheet = visit.page.evaluate(
        """async () => {
          const { drawOverlay } = await import('/viewer/js/overlay.js');
          const { activeRadiograph } = await import('/viewer/js/store.js');
          const { width, height } = drawOverlay(activeRadiograph());
          return { width, height };
        }"""
    )
    pdf = visit.page.pdf(format="A4")
    printed = [box for box in _images(pdf) if min(box) > 100]
    assert len(printed) == 1, "one picture"
    # Chromium prints the sheet as one picture, or as the drawing that it was made by.
    aspects = (sheet["width"] / sheet["height"], radiographs.COLUMNS / radiographs.ROWS)
    assert any(printed[0][0] / printed[0][1] == pytest.approx(aspect, rel=0.01) for aspect in aspects)
    assert pdf.count(b"/Type /Page\n") == 1


def test_the_printed_page_lists_all_findings(visit: Visit) -> None:
    visit.read(jpeg_file())
    page = visit.page
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    expect(page.locator(".paper tbody tr")).to_have_count(14)
    expect(page.locator(".paper")).to_contain_text("Research use only")
    expect(page.locator(".paper")).to_contain_text("tiny 1.0.0, SHA-256")
    expect(page.locator(".top")).to_be_hidden()
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    expect(page.locator(".paper")).to_be_hidden()


def _images(pdf: bytes) -> list[tuple[float, float]]:
    """Width and height at which each image of a PDF is drawn, in points."""
    boxes = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        matrices = [np.eye(3)]
        operands: list[Any] = []
        for word in content.split():
            if word == b"q":
                matrices.append(matrices[-1])
            elif word == b"Q" and len(matrices) > 1:
                matrices.pop()
            elif word == b"cm":
                a, b, c, d, e, f = (float(value) for value in operands[-6:])
                matrices[-1] = np.array([[a, b, 0], [c, d, 0], [e, f, 1]]) @ matrices[-1]
            elif word == b"Do":
                placed = matrices[-1]
                boxes.append((float(np.hypot(*placed[0, :2])), float(np.hypot(*placed[1, :2]))))
            operands.append(word)
    return boxes
