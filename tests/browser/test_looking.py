"""A file is dropped, its picture comes at full depth, and window, zoom and turns act on it."""

from __future__ import annotations

import base64
import io
import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import Route, expect

from cxrserve.findings import NAMES, NO_FINDING, URGENCY_ORDER
from cxrserve.warnings import EXPLANATIONS, WarningCode
from tests import radiographs
from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file


def test_a_file_that_is_dropped_is_shown_and_analysed(visit: Visit) -> None:
    page = visit.page
    expect(page.get_by_role("heading", name="Drop a chest radiograph here")).to_be_visible()
    page.evaluate(
        """async text => {
          const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], 'dropped.jpg'));
          const how = { dataTransfer, bubbles: true, cancelable: true };
          document.body.dispatchEvent(new DragEvent('drop', how));
        }""",
        base64.b64encode(radiographs.jpeg()).decode(),
    )
    expect(page.locator(".finding")).to_have_count(len(NAMES))
    assert len(set(visit.pixels())) > 20, "a picture has many greys"
    expect(page.get_by_text("Research use only.").first).to_be_visible()
    shown = [row.get_attribute("data-finding") or "" for row in page.locator(".finding").all()]
    assert sorted(shown) == sorted(NAMES)


def test_the_most_urgent_finding_comes_first_and_no_finding_is_apart(visit: Visit) -> None:
    visit.read(jpeg_file())
    rows = visit.page.locator(".finding")

    def shown() -> list[tuple[str, bool]]:
        return [
            (row.get_attribute("data-finding") or "", row.get_attribute("data-above") == "true")
            for row in rows.all()
        ]

    names = [name for name, _ in shown()]
    assert names == sorted(
        names, key=lambda name: (name == NO_FINDING, not dict(shown())[name], URGENCY_ORDER.index(name))
    )
    above = sum(positive for name, positive in shown() if name != NO_FINDING)
    assert dict(shown())[NO_FINDING], "the tiny bundle says so at the same time"
    expect(visit.page.locator("#findings .head .note")).to_have_text(f"{above} above the operating point")
    visit.page.get_by_label("Order of the findings").select_option("name")
    expect(rows.first).to_have_attribute("data-finding", "Atelectasis")
    assert [name for name, _ in shown()] == [*sorted(set(NAMES) - {NO_FINDING}), NO_FINDING]
    visit.page.get_by_label("Order of the findings").select_option("distance")
    numbers = [
        [float(each) for each in re.findall(r"\d\.\d\d", label)] for label in rows.all_text_contents()[:13]
    ]
    margins = [probability - threshold for probability, threshold in numbers]
    assert margins == sorted(margins, reverse=True)


def test_the_page_says_what_the_model_is(visit: Visit) -> None:
    model = httpx.get(f"{visit.url}/model").json()
    visit.read(jpeg_file())
    expect(visit.page.locator(".about-model")).to_contain_text(model["intended_use"])
    expect(visit.page.locator(".about-model")).to_contain_text(f"{model['name']} {model['version']}")


def test_a_result_that_means_nothing_cannot_be_missed(visit: Visit) -> None:
    """The service's own answer, with the warning that a film check adds."""

    def warned(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        meaning = EXPLANATIONS[WarningCode.UNLIKE_TRAINING].meaning
        body["warnings"].append({"code": WarningCode.UNLIKE_TRAINING.value, "message": meaning})
        route.fulfill(response=answer, json=body)

    visit.page.route("**/predict*", warned)
    visit.read(jpeg_file())
    alarm = visit.page.locator(".alarm")
    expect(alarm).to_contain_text("Do not rely on this result")
    expect(alarm).to_contain_text("unlike what the networks were trained on")
    expect(alarm.locator("code")).to_have_text("unlike-training")
    visit.page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_the_window_acts_on_the_stored_depth(visit: Visit, photometric: str) -> None:
    """Sixteen of 4,096 values as the window: in eight bits they would be one grey."""
    dataset = radiographs.dataset(PhotometricInterpretation=photometric, WindowCenter=2048, WindowWidth=16)
    values_HW = radiographs.pixels().astype("<u2") << 4
    values_HW[290:310] = np.linspace(2040, 2055, radiographs.COLUMNS)
    dataset.PixelData = values_HW.tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    visit.open({"name": "ramp.dcm", "mimeType": "application/dicom", "buffer": file.getvalue()})
    expect(visit.page.locator(".view[data-painted]").first).to_be_visible()
    greys = np.array(visit.pixels()).reshape(15, 15, 3)[7, 4:11, 0]
    assert len(set(greys.tolist())) >= 5
    steps = np.diff(greys.astype(int))
    assert (steps >= 0).all() if photometric == "MONOCHROME2" else (steps <= 0).all()


def test_dragging_changes_the_window_and_a_preset_brings_it_back(visit: Visit) -> None:
    visit.read(dicom_file())
    page = visit.page
    corner = page.locator(".view").first.locator(".corner.sw")
    expect(corner).to_contain_text("C 2048")
    before = visit.pixels()
    box = page.locator(".view canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 240, steps=4)
    page.mouse.up()
    expect(corner).not_to_contain_text("C 2048")
    assert visit.pixels() != before
    page.get_by_label("Window preset").select_option(label="From the file")
    expect(corner).to_contain_text("C 2048")
    assert visit.pixels() == before


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("inverted", [False, True])
def test_dragging_up_makes_the_image_brighter(visit: Visit, photometric: str, inverted: bool) -> None:
    visit.read(dicom_file(PhotometricInterpretation=photometric))
    page = visit.page
    if inverted:
        page.keyboard.press("i")
    before = np.mean(visit.pixels())
    box = page.locator(".view canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 400)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 340, steps=3)
    page.mouse.up()
    page.mouse.move(0, 0)
    dragged = np.mean(visit.pixels())
    assert dragged > before
    page.keyboard.press("{")
    assert np.mean(visit.pixels()) < dragged


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("slope", [1, -1])
def test_the_preset_for_the_lungs_makes_the_dark_part_wide(
    visit: Visit, photometric: str, slope: int
) -> None:
    """A window over the dark part shows more of the image as white than one over the bright part."""
    intercept = 0 if slope > 0 else 4095
    visit.read(
        dicom_file(PhotometricInterpretation=photometric, RescaleSlope=slope, RescaleIntercept=intercept)
    )
    presets = visit.page.get_by_label("Window preset")
    presets.select_option(label="Lungs, the darker part")
    lungs = np.mean(visit.pixels())
    presets.select_option(label="Mediastinum, the brighter part")
    assert lungs > np.mean(visit.pixels())


def test_invert_turns_every_grey_around(visit: Visit) -> None:
    visit.read(jpeg_file())
    before = visit.pixels()
    visit.page.get_by_role("button", name="Invert (I)").click()
    after = visit.pixels()
    inside = [index for index, pair in enumerate(zip(before, after, strict=True)) if any(pair)]
    assert len(inside) > 200
    assert all(abs(before[index] + after[index] - 255) <= 1 for index in inside)


def test_the_networks_view_is_among_the_presets(visit: Visit) -> None:
    visit.read(dicom_file())
    before = visit.pixels()
    visit.page.get_by_label("Window preset").select_option(label="As the networks see it")
    equalised = [value for value in visit.pixels() if value]
    assert equalised != before
    assert np.std(equalised) > 50  # an equalised histogram is spread


def test_zoom_pan_one_to_one_and_fit(visit: Visit) -> None:
    visit.read(jpeg_file())
    page = visit.page
    zoom = page.locator("#zoom-value")
    fitted, whole = zoom.inner_text(), visit.pixels()
    page.locator("#tool-actual").click()
    expect(zoom).to_have_text("100 %")
    box = page.locator(".view canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 250, box["y"] + 250)
    page.mouse.wheel(0, -400)
    expect(zoom).not_to_have_text("100 %")
    zoomed = visit.pixels()
    page.get_by_role("radio", name="Pan").click()
    page.mouse.move(box["x"] + 250, box["y"] + 250)
    page.mouse.down()
    page.mouse.move(box["x"] + 330, box["y"] + 290, steps=3)
    page.mouse.up()
    assert visit.pixels() != zoomed
    page.locator("#tool-fit").click()
    expect(zoom).to_have_text(fitted)
    assert visit.pixels() == whole


def test_the_sides_turn_with_the_image_and_are_never_guessed(visit: Visit) -> None:
    visit.read(dicom_file())
    page = visit.page

    def sides() -> list[str]:
        marks = page.locator(".view").first.locator(".side-mark")
        return [marks.nth(index).inner_text() for index in range(4)]  # top, right, bottom, left

    assert sides() == ["H", "L", "F", "R"]
    page.locator("#tool-rotate").click()
    expect(page.locator(".side-mark[data-at=top]").first).to_have_text("R")
    assert sides() == ["R", "H", "L", "F"]
    visit.open(jpeg_file("no-side.jpg"))
    page.get_by_role("button", name="no-side.jpg").first.click()
    expect(page.locator(".corner.ne").first).to_contain_text("no side in the header")
    assert sides() == ["", "", "", ""]


def test_the_picture_stands_before_the_answer(new_visit: NewVisit) -> None:
    visit = new_visit()
    visit.page.route("**/predict*", lambda route: None)  # never answered
    visit.open(dicom_file())
    expect(visit.page.locator(".view[data-painted]").first).to_be_visible()
    expect(visit.page.locator("#findings")).to_contain_text(re.compile("Analysing the image|Sending"))
    visit.page.unroute_all(behavior="ignoreErrors")
