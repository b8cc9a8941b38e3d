"""The start page offers a phantom to those who have no radiograph at hand."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import expect

from cxrserve.findings import NAMES
from tests.api.test_viewer import FOLDER
from tests.browser.conftest import Visit
from training.phantom.files import write_phantoms


def test_a_phantom_is_opened_and_named_for_what_is_drawn_in_it(visit: Visit, tmp_path: Path) -> None:
    visit.page.get_by_role("button", name="Try a drawn phantom").click()
    expect(visit.page.locator(".view[data-painted]").first).to_be_visible()
    expect(visit.page.locator(".finding")).to_have_count(14)
    title = visit.page.locator(".radiograph .title").first.inner_text()
    write_phantoms(tmp_path, 1, 0, "jpeg")
    (row,) = csv.DictReader((tmp_path / "labels.csv").read_text().splitlines())
    assert title == f"Phantom, drawn with: {', '.join(name for name in NAMES if row[name] == '1')}"


def test_it_is_what_the_command_draws(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 1, 0, "jpeg")
    drawn_HW = cv2.imread(str(tmp_path / "phantom_000000.jpg"), cv2.IMREAD_GRAYSCALE)
    held_HW = cv2.imread(str(FOLDER / "phantom.jpg"), cv2.IMREAD_GRAYSCALE)
    assert drawn_HW is not None
    assert held_HW is not None
    small = [cv2.resize(grey_HW, (256, 256), interpolation=cv2.INTER_AREA) for grey_HW in (drawn_HW, held_HW)]
    assert np.abs(small[0].astype(int) - small[1]).mean() < 2
    assert (FOLDER / "phantom.jpg").stat().st_size < 350_000
