"""The page of the model: what was measured as figures, what a site changed, and what the watch says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cxrserve.bundle.adopted_site import Outcome
from cxrserve.bundle.contract import read_contract
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.findings import NAMES
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.site.file import Site, site_bytes
from tests.browser.conftest import NewVisit
from tests.browser.test_access import AXE, violations
from tests.conftest import MakeSettings, Serve
from tests.servers import Running

_DEMO = Path(__file__).parents[2] / "models" / "demo"


def _site(bundle: Path, arithmetic: Arithmetic) -> Site:
    shared: dict[str, Any] = {"films": 400, "patients": 400, "checked_films": 200}
    return Site(
        name="St Mary",
        version=2,
        created="2026-11-29",
        note="after the new detector",
        bundle_sha256=read_contract(bundle)[1],
        arithmetic=arithmetic,
        previous="0" * 64,
        evidence=(
            Outcome(
                finding="Edema",
                adopted=True,
                why="better by 0.041 on the checking films",
                events=80,
                log_loss_before=0.31,
                log_loss_after=0.269,
                **shared,
            ),
            Outcome(
                finding="Fracture",
                adopted=False,
                why="3 films with the finding; at least 5 are needed",
                events=3,
                **shared,
            ),
        ),
    )


@pytest.fixture(scope="module")
def measured(
    serve: Serve, make_settings: MakeSettings, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A service with a bundle that was evaluated, and with a site file."""
    folder = tmp_path_factory.mktemp("measured")
    bundle = Path(shutil.copytree(tiny_bundle, folder / "bundle"))
    shutil.copyfile(_DEMO / "report.json", bundle / "report.json")
    with Pipeline(make_settings(bundle=bundle)) as pipeline:
        site = _site(bundle, pipeline.predictor.arithmetic)
    (folder / "site.json").write_bytes(site_bytes(site))
    with serve(bundle=bundle, site=folder / "site.json") as running:
        yield running


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 390)])
def test_what_was_measured_comes_first_and_as_figures(
    new_visit: NewVisit, measured: Running, scheme: str, width: int
) -> None:
    visit = new_visit(
        measured.url,
        "/viewer/model.html",
        color_scheme=scheme,
        bypass_csp=True,
        viewport={"width": width, "height": 900},
    )
    page = visit.page
    report = json.loads((_DEMO / "report.json").read_text(encoding="utf-8"))
    expect(page.locator(".stackbar")).to_have_count(14)
    headings = page.locator("h2").all_inner_texts()
    assert headings[1:6] == [
        "Reliability",
        "Decision curves",
        "Whom the film check refuses",
        "Site St Mary, version 2",
        "The watch",
    ]
    panels = page.locator(".panels figure")
    expect(panels).to_have_count(2 * len(NAMES))
    edema = next(finding for finding in report["findings"] if finding["name"] == "Edema")
    ece = f"ECE {edema['calibration']['ece']:.3f}"
    expect(panels.filter(has=page.get_by_text("Edema", exact=True)).first).to_contain_text(ece)
    groups = page.locator(".groups:not(.outcomes) .range")
    expect(groups).to_have_count(len(report["film_check"]["groups"]))
    outcomes = page.locator(".outcomes")
    expect(outcomes.get_by_role("img", name="Edema: log loss 0.310 before, 0.269 after")).to_be_visible()
    expect(outcomes).to_contain_text("3 films with the finding; at least 5 are needed")
    expect(page.get_by_text("after the new detector")).to_be_visible()
    # The figures are the demo's, the bundle is a tiny one.
    expect(page.get_by_text("of an earlier state of this bundle")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.add_script_tag(path=AXE)
    assert violations(visit) == []


def test_a_model_that_was_not_evaluated_has_its_contract_alone(new_visit: NewVisit) -> None:
    page = new_visit(path="/viewer/model.html").page
    expect(page.locator(".stackbar")).to_have_count(14)
    expect(page.locator(".panels")).to_have_count(0)
    expect(page.get_by_text("No site file is adopted")).to_be_visible()
