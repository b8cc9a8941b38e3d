"""Selecting a finding: its heatmap, the contribution of each scale; for one image and for a study."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Route, expect

from cxrserve.findings import NAMES, NO_FINDING
from tests import radiographs
from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file
from tests.conftest import Serve

POSITIVE = NAMES[0]  # of the tiny bundle, those at even places


def test_a_picked_finding_lays_its_heatmap_over_the_radiograph(visit: Visit) -> None:
    visit.read(jpeg_file())
    page = visit.page
    bare = visit.pixels()
    visit.finding(POSITIVE)
    expect(page.get_by_role("heading", name="Heatmap")).to_be_visible()
    assert not _is_grey(visit.pixels())
    page.get_by_role("radio", name="Contours").click()
    expect(page.locator(".legend.contour")).to_be_visible()
    page.get_by_role("radio", name="Off").click()
    assert visit.pixels() == bare
    page.get_by_role("radio", name="Colour").click()
    page.locator("#opacity").fill("0")
    expect(page.locator("#opacity-value")).to_have_text("0 %")
    assert visit.pixels() == bare


def test_hovering_gives_the_value_that_the_answer_holds(visit: Visit) -> None:
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    visit.settle()
    page = visit.page
    shown = page.evaluate(
        """async name => {
          const { state } = await import('/viewer/js/store.js');
          const report = state.radiographs[0].answer.findings.find(each => each.finding === name).heatmap;
          const { greys, width } = state.radiographs[0].heatmap(name, 'ensemble');
          const peak = greys.indexOf(greys.reduce((most, each) => Math.max(most, each), 0));
          const place = { x: peak % width + 0.5, y: Math.floor(peak / width) + 0.5 };
          return { max: report.max, x: place.x / report.width, y: place.y / report.height };
        }""",
        POSITIVE,
    )
    box = page.locator(".view canvas").first.bounding_box()
    assert box is not None
    scale = min(box["width"] / radiographs.COLUMNS, box["height"] / radiographs.ROWS)
    width, height = radiographs.COLUMNS * scale, radiographs.ROWS * scale
    page.mouse.move(
        box["x"] + (box["width"] - width) / 2 + shown["x"] * width,
        box["y"] + (box["height"] - height) / 2 + shown["y"] * height,
    )
    said = page.locator("[data-evidence]").first
    expect(said).to_contain_text("nats")
    value = float(said.get_attribute("data-evidence") or "nan")
    assert value == pytest.approx(min(shown["max"], 1.0), rel=0.1, abs=0.01)


def test_every_scale_has_a_map_of_its_own_and_a_vote(visit: Visit) -> None:
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    page = visit.page
    ensemble = visit.pixels()
    seen = []
    for size in (64, 128, 256, 512):
        page.get_by_role("radio", name=f"Scale {size}").click()
        seen.append(visit.pixels())
    assert len({tuple(each) for each in [ensemble, *seen]}) >= 4
    rows = page.locator("#contributions tbody tr")
    expect(rows).to_have_count(4)
    shares = [re.findall(r"\d+", row.locator("td").last.inner_text()) for row in rows.all()]
    assert sum(int(share[0]) for share in shares) == pytest.approx(100, abs=3)
    expect(page.locator(".contributions-chart .column")).to_have_count(4)


def test_what_was_done_and_by_which_model_stands_there(visit: Visit) -> None:
    visit.read(jpeg_file())
    details = visit.page.locator("#details")
    expect(details).to_contain_text("mimic-cxr-jpg")
    expect(details).to_contain_text("equalize-histogram")
    expect(details).to_contain_text("tiny 1.0.0")
    sha256 = httpx.get(f"{visit.url}/model").json()["sha256"]
    expect(details).to_contain_text(sha256[:16])
    with visit.page.context.expect_page() as opened:  # beside the open image, which stays
        visit.page.get_by_role("link", name="Model", exact=True).click()
    model = opened.value
    expect(model.get_by_role("heading", name="tiny 1.0.0")).to_be_visible()
    expect(model.get_by_text("Knows nothing.")).to_be_visible()
    expect(model.locator(".stackbar")).to_have_count(14)


def test_a_study_in_two_views_is_read_as_the_service_reads_it(visit: Visit) -> None:
    other = dicom_file("lateral.dcm", ViewPosition="LL", PatientOrientation=["A", "F"])
    frontal = dicom_file("frontal.dcm")
    visit.read(frontal, other)
    page = visit.page
    expect(page.locator(".view:visible canvas")).to_have_count(2)
    expect(page.locator(".view[data-painted]:visible")).to_have_count(2)
    page.get_by_role("radio", name="Study").click()
    expect(page.locator("#findings")).to_contain_text("Over 2 images, by the bundle’s rule: maximum")
    files = [("file", ("a", each["buffer"])) for each in (frontal, other)]
    answer = httpx.post(f"{visit.url}/predict/study", files=files, timeout=60).json()
    for finding in answer["findings"]:
        shown = page.locator(f'[data-finding="{finding["finding"]}"] .value')
        assert shown.inner_text() == f"{finding['probability']:.2f}"
    page.get_by_role("radio", name="Four views").click()
    expect(page.locator(".view:visible")).to_have_count(4)


def test_a_study_has_its_own_calibration_and_operating_points(
    new_visit: NewVisit, serve: Serve, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The largest of several scores is larger than one: an image's point would raise more false alarms."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    contract = json.loads((bundle / "bundle.json").read_text())
    logistic = {"method": "logistic", "slope": 0.5, "intercept": -1.5, "data": "made up for this test"}
    point = contract["operating_points"][POSITIVE]
    contract["study_calibration"] = {POSITIVE: logistic}
    contract["study_operating_points"] = {POSITIVE: point | {"threshold": 0.9}}
    (bundle / "bundle.json").write_text(json.dumps(contract))
    with serve(bundle=bundle) as running:
        visit = new_visit(running.url)
        films = [dicom_file("one.dcm"), dicom_file("two.dcm", ViewPosition="AP")]
        visit.read(*films)
        page = visit.page
        page.get_by_role("radio", name="Study").click()
        files = [("file", ("a", each["buffer"])) for each in films]
        answer = httpx.post(f"{visit.url}/predict/study", files=files, timeout=60).json()
        of_study = next(each for each in answer["findings"] if each["finding"] == POSITIVE)
        row = page.locator(f'[data-finding="{POSITIVE}"]')
        expect(row.locator(".value")).to_have_text(f"{of_study['probability']:.2f}")
        expect(row).to_have_attribute("data-above", "false")
        expect(row).to_have_attribute("title", re.compile("operating point 0.900"))
        assert not of_study["positive"]
        page.get_by_role("radio", name="Image", exact=True).click()
        expect(row).to_have_attribute("data-above", "true")
        expect(row.locator(".value")).not_to_have_text(f"{of_study['probability']:.2f}")


def test_a_finding_of_the_study_shows_the_image_that_decides_it(visit: Visit) -> None:
    """Study scope names the image of each probability, and picking a finding shows that image's heatmap."""
    visit.read(dicom_file("one.dcm"), dicom_file("two.dcm", ViewPosition="AP", PatientOrientation=["L", "F"]))
    page = visit.page
    expect(page.locator(".view[data-painted]:visible")).to_have_count(2)

    def second_decides(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["findings"][0] |= {"score": 0.999, "probability": 0.999, "positive": True}
        route.fulfill(response=answer, json=body)

    page.route("**/predict*", second_decides)
    visit.open(jpeg_file("three.jpg"))
    page.get_by_role("radio", name="Study").click()
    row = page.locator(f'[data-finding="{NAMES[0]}"]')
    expect(row).to_contain_text("from image 3")
    expect(row.locator(".value")).to_have_text("1.00")
    page.get_by_role("button", name="one.dcm").first.click()
    row.click()
    expect(page.locator("#evidence .note")).to_contain_text("image 3")
    expect(page.locator("#contributions .note")).to_contain_text("1.00  ·  image 3")
    expect(page.locator("#details")).to_contain_text("three.jpg")
    page.unroute_all(behavior="ignoreErrors")


def test_a_finding_that_no_network_knows_is_grey_and_cannot_be_picked(visit: Visit) -> None:
    def without_first(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["findings"][0] |= {"probability": None, "threshold": None, "positive": False, "heatmap": None}
        route.fulfill(response=answer, json=body)

    visit.page.route("**/predict*", without_first)
    visit.read(jpeg_file())
    row = visit.page.locator(f'[data-finding="{NAMES[0]}"]')
    expect(row).to_contain_text("not supported by this model")
    expect(visit.page.locator(".finding").nth(12)).to_have_attribute("data-finding", NAMES[0])
    expect(visit.page.locator(".finding").last).to_have_attribute("data-finding", NO_FINDING)
    row.click(force=True)
    expect(row).to_have_attribute("aria-selected", "false")


def test_holding_a_key_hides_the_heatmap(visit: Visit) -> None:
    visit.read(jpeg_file())
    bare = visit.pixels()
    visit.finding(POSITIVE)
    over = visit.pixels()
    visit.page.keyboard.down("q")
    assert visit.pixels() == bare
    visit.page.keyboard.up("q")
    assert visit.pixels() == over != bare


def test_the_result_is_copied_as_text_without_patient_data(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.read(dicom_file(PatientName="Secret^Person"))
    page.keyboard.press("c")
    expect(page.locator("#announcer")).to_have_text("Copied the result")
    text = page.evaluate("() => navigator.clipboard.readText()")
    assert text.startswith("Above the operating point: Pneumothorax 0.")
    assert "No Finding" not in text
    assert text.endswith("tiny 1.0.0. Research use only, not for diagnosis.")
    assert "ecret" not in text


def _is_grey(pixels: list[int]) -> bool:
    return all(r == g == b for r, g, b in zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True))
