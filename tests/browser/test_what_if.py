"""Another threshold in the viewer: its shares with intervals from the bundle, and no answer that changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from cxrserve.bundle.operating_point import OperatingPoint
from cxrserve.bundle.threshold_counts import threshold_counts
from cxrserve.findings import NAMES
from cxrserve.site.points import share
from tests.browser.conftest import NewVisit, Visit, dicom_file, jpeg_file
from tests.browser.test_access import AXE, violations
from tests.conftest import Serve
from tests.servers import Running

POSITIVE, NEGATIVE = NAMES[0], NAMES[1]
PRESENT, ABSENT = 412, 2788


def measured_point(threshold: float = 0.5) -> OperatingPoint:
    """An operating point with counts at other thresholds, of drawn probabilities."""
    random = np.random.default_rng(3)
    positive_N = np.repeat((True, False), (PRESENT, ABSENT))
    probabilities_N = 1 / (1 + np.exp(-(random.normal(size=len(positive_N)) * 1.5 + 4 * positive_N - 2.5)))
    return OperatingPoint(
        threshold=threshold,
        chosen_for="tests",
        data="none; measured on 3200 drawn images",
        events=PRESENT,
        non_events=ABSENT,
        curve=threshold_counts(probabilities_N, positive_N, threshold, probabilities_N >= threshold),
    )


POINT = measured_point()


@pytest.fixture(scope="module")
def measured(serve: Serve, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose bundle has counts at other thresholds, for images and for studies."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("measured") / "bundle"))
    contract = json.loads((bundle / "bundle.json").read_text())
    contract["operating_points"] = {name: POINT.model_dump(mode="json") for name in NAMES}
    contract["study_operating_points"] = {POSITIVE: measured_point(0.7).model_dump(mode="json")}
    (bundle / "bundle.json").write_text(json.dumps(contract))
    with serve(bundle=bundle) as running:
        yield running


def shares_at(place: int) -> list[str]:
    """Sensitivity, specificity, PPV and NPV at a place of the curve, as the page writes them."""
    assert POINT.curve is not None
    hits, alarms = POINT.curve.true_positives[place], POINT.curve.false_positives[place]
    missed, passed = PRESENT - hits, ABSENT - alarms
    counts = ((hits, PRESENT), (passed, ABSENT), (hits, hits + alarms), (passed, passed + missed))
    return [written(*pair) for pair in counts]


def written(count: int, total: int) -> str:
    """A share with its interval; a dash where there is nothing to count."""
    if not total:
        return "–"
    part = share(count, total)
    return f"{part.value:.2f} ({part.low:.2f}–{part.high:.2f})"


def column(page: Page, number: int) -> list[str]:
    """A column of the table."""
    return [
        row.locator("td").nth(number).inner_text() for row in page.locator("#what-if-figures tbody tr").all()
    ]


def test_intervals_are_those_of_the_service(visit: Visit) -> None:
    pairs = [(0, 1), (1, 1), (0, 59), (3, 10), (8, 10), (412, 412), (390, 412), (17, 2788), (99_990, 100_000)]
    found = visit.page.evaluate(
        """async pairs => {
          const { interval } = await import('/viewer/js/interval.js');
          return pairs.map(([count, total]) => interval(count, total));
        }""",
        pairs,
    )
    for (count, total), each in zip(pairs, found, strict=True):
        expected = share(count, total)
        assert (each["low"], each["high"]) == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_another_threshold_shows_its_shares_and_changes_no_answer(
    new_visit: NewVisit, measured: Running
) -> None:
    visit = new_visit(measured.url)
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    page = visit.page
    assert POINT.curve is not None
    own = POINT.curve.thresholds.index(0.5)
    said = (
        "() => import('/viewer/js/store.js').then(({ state }) => JSON.stringify(state.radiographs[0].answer))"
    )
    answer, row = page.evaluate(said), page.locator(f'[data-finding="{POSITIVE}"]')
    before = row.evaluate("node => node.outerHTML")
    panel, slider = page.locator("#what-if"), page.get_by_label("What if the threshold were")
    expect(panel).to_contain_text(
        "412 with the finding and 2 788 without. PPV and NPV hold where 13 % have it"
    )
    assert column(page, 0) == shares_at(own)
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    expect(panel.locator(".note")).to_have_text("what if")
    assert [column(page, 0), column(page, 1)] == [shares_at(own), shares_at(own + 12)]
    expect(slider).to_have_attribute("aria-valuetext", f"{POINT.curve.thresholds[own + 12]:.3f}, what if")
    page.keyboard.press("End")
    expect(panel.locator("#what-if-verdict")).to_contain_text(
        f"{POSITIVE} would be below it. The answer stays: above the operating point."
    )
    assert page.evaluate(said) == answer
    assert row.evaluate("node => node.outerHTML") == before
    page.keyboard.press("Escape")
    expect(panel.locator(".note")).to_have_text("0.500")
    expect(page.locator("#what-if-figures tbody td")).to_have_count(4)
    expect(slider).to_be_focused()
    expect(row).to_have_attribute("aria-selected", "true")
    # By mouse: the slider stays the same element while it is dragged.
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * own / (len(POINT.curve.thresholds) - 1), box["y"] + 10)
    page.mouse.down()
    for step in range(6):
        page.mouse.move(box["x"] + box["width"] * (5 - step) / 6, box["y"] + 10)
    page.mouse.up()
    expect(slider).to_have_value("0")
    assert column(page, 1) == shares_at(0)
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#what-if-figures tbody td")).to_have_count(4)


def test_a_choice_ends_with_its_finding_and_is_exported_nowhere(
    new_visit: NewVisit, measured: Running
) -> None:
    visit = new_visit(measured.url, permissions=["clipboard-read", "clipboard-write"])
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    page = visit.page
    page.keyboard.press("c")
    expect(page.locator("#announcer")).to_contain_text("opied")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    page.get_by_label("What if the threshold were").fill("0")
    expect(page.locator("#what-if .note")).to_have_text("what if")
    page.evaluate("() => navigator.clipboard.writeText('')")
    page.keyboard.press("c")
    page.wait_for_function("() => navigator.clipboard.readText()")
    assert page.evaluate("() => navigator.clipboard.readText()") == copied
    with page.expect_download() as saved:
        page.keyboard.press("e")
        page.get_by_role("menuitem", name="Answer, JSON").click()
    findings = json.loads(saved.value.path().read_text())["findings"]
    assert {each["threshold"] for each in findings} == {0.5}
    visit.finding(NEGATIVE)
    expect(page.locator("#what-if .note")).to_have_text("0.500")
    visit.finding(POSITIVE)
    expect(page.locator("#what-if .note")).to_have_text("0.500")


def test_a_study_has_its_own_curve(new_visit: NewVisit, measured: Running) -> None:
    visit = new_visit(measured.url)
    visit.read(dicom_file("one.dcm"), dicom_file("two.dcm", ViewPosition="AP"))
    visit.finding(POSITIVE)
    page = visit.page
    expect(page.locator("#what-if .note")).to_have_text("0.500")
    page.get_by_role("radio", name="Study").click()
    expect(page.locator("#what-if .note")).to_have_text("0.700")


def test_without_counts_or_with_another_threshold_there_is_no_slider(
    visit: Visit, new_visit: NewVisit, measured: Running
) -> None:
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    expect(visit.page.locator("#contributions")).to_be_visible()
    expect(visit.page.locator("#what-if")).to_be_hidden()
    other = new_visit(measured.url)

    def of_another_site(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        body["findings"][0] |= {"threshold": 0.25}
        route.fulfill(response=answer, json=body)

    other.page.route("**/predict*", of_another_site)
    other.read(jpeg_file())
    other.finding(POSITIVE)
    expect(other.page.locator("#contributions")).to_be_visible()
    expect(other.page.locator("#what-if")).to_be_hidden()
    other.page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 720, 1024, 1440])
def test_it_fits_each_width_and_axe_finds_nothing(
    new_visit: NewVisit, measured: Running, scheme: str, width: int
) -> None:
    visit = new_visit(
        measured.url, color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900}
    )
    visit.read(jpeg_file())
    visit.finding(POSITIVE)
    page = visit.page
    page.get_by_label("What if the threshold were").fill("5")
    page.locator("#what-if").scroll_into_view_if_needed()
    wide = page.evaluate(
        """() => {
          const panel = document.querySelector('#what-if');
          const right = panel.getBoundingClientRect().right;
          const nodes = [...panel.querySelectorAll('*')];
          return nodes.filter(node => node.getBoundingClientRect().right > right).map(node => node.outerHTML);
        }"""
    )
    assert wide == []
    page.add_script_tag(path=AXE)
    page.wait_for_timeout(300)  # colours glide
    assert violations(visit) == []
