"""The page of the API in a browser: Swagger UI under the page's own policy, with and without a token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests import radiographs
from tests.browser.conftest import NewVisit, Visit
from tests.browser.test_access import AXE, violations
from tests.conftest import Serve

# Swagger UI's own structure, which no style sheet or attribute mends: links inside of buttons, a heading
# level that is left out, text outside of landmarks.
OF_SWAGGER_UI = ("heading-order", "nested-interactive", "region")
TOKEN = "open-sesame-open-sesame"


def operation(visit: Visit, tag: str, name: str) -> Locator:
    """The opened form of an operation."""
    form = visit.page.locator(f"#operations-{tag}-{name}")
    form.locator(".opblock-summary-control").click()
    form.get_by_role("button", name="Try it out").click()
    return form


def send(form: Locator, film: Path) -> Locator:
    """Send a film from the form; the status of the answer."""
    form.locator("input[type=file]").set_input_files(film)
    form.get_by_role("button", name="Execute").click()
    return form.locator(".live-responses-table .response-col_status").nth(1)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A radiograph as a JPEG file."""
    path = tmp_path / "chest.jpg"
    path.write_bytes(radiographs.jpeg())
    return path


def test_a_request_is_sent_and_its_answer_shown(new_visit: NewVisit, film: Path) -> None:
    visit = new_visit(path="/docs")
    form = operation(visit, "predict", "predict")
    form.get_by_label("heatmaps", exact=True).fill("none")
    expect(send(form, film)).to_contain_text("200")
    answer = form.locator(".live-responses-table .response-col_description").nth(1)
    expect(answer).to_contain_text('"Pneumothorax"')
    expect(form.locator(".curl-command")).to_contain_text("/predict?heatmaps=none")
    expect(visit.page.locator("#swagger-ui")).to_contain_text("Research use only")


def test_a_picture_is_shown_under_the_policy(new_visit: NewVisit, film: Path) -> None:
    visit = new_visit(path="/docs")
    form = operation(visit, "predict", "predict")
    form.get_by_label("heatmaps", exact=True).fill("Cardiomegaly")
    form.get_by_label("accept", exact=True).select_option("png")
    expect(send(form, film)).to_contain_text("200")
    picture = form.locator(".live-responses-table img")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 100


def test_the_token_has_a_field(new_visit: NewVisit, serve: Serve, film: Path) -> None:
    with serve(token=TOKEN) as guarded:
        visit = new_visit(guarded.url, path="/docs")
        form = operation(visit, "predict", "predict")
        expect(send(form, film)).to_contain_text("401")
        visit.page.get_by_role("button", name="Authorize").first.click()
        dialog = visit.page.locator(".modal-ux")
        dialog.locator("input").fill(TOKEN)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close").click()
        form.get_by_role("button", name="Execute").click()
        expect(form.locator(".live-responses-table .response-col_status").nth(1)).to_contain_text("200")
        kept = visit.page.evaluate("() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
        assert TOKEN not in kept


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_only_what_is_swagger_uis_own(new_visit: NewVisit, scheme: str, film: Path) -> None:
    visit = new_visit(path="/docs", color_scheme=scheme, bypass_csp=True)  # axe is put into the page
    form = operation(visit, "predict", "predict")
    expect(send(form, film)).to_contain_text("200")
    expect(visit.page.locator("html")).to_have_class("dark-mode" if scheme == "dark" else "")
    visit.page.add_script_tag(path=AXE)
    assert [fault for fault in violations(visit) if not fault.startswith(OF_SWAGGER_UI)] == []


def test_without_swagger_ui_the_page_names_the_document(new_visit: NewVisit) -> None:
    visit = new_visit()
    visit.page.route(re.compile("/docs/swagger-ui"), lambda route: route.fulfill(status=404))
    visit.page.goto(f"{visit.url}/docs")
    expect(visit.page.locator(".fallback").get_by_role("link", name="openapi.json")).to_be_visible()
