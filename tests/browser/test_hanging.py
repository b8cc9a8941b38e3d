"""Frontal images hang to the left of lateral ones, unless the reader has placed them."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit, dicom_file


def shown(page: Page) -> list[str]:
    """The names of the images in the views, left to right."""
    labels = page.locator(".view:visible canvas")
    return [str(label.get_attribute("aria-label")).split(", ")[1] for label in labels.all()]


def test_a_lateral_image_hangs_to_the_right_of_the_frontal_one(visit: Visit) -> None:
    lateral = dicom_file("lateral.dcm", ViewPosition="LL")
    visit.open(lateral, dicom_file("frontal.dcm", ViewPosition="PA"))
    expect(visit.page.locator(".view[data-painted]:visible")).to_have_count(2)
    first = visit.page.locator(".view:visible canvas").first
    expect(first).to_have_attribute("aria-label", "View 1, frontal.dcm, PA, sides marked")
    assert shown(visit.page) == ["frontal.dcm", "lateral.dcm"]


def test_images_in_order_stay_in_their_places(visit: Visit) -> None:
    unnamed = dicom_file("unnamed.dcm", ViewPosition="")
    visit.open(dicom_file("frontal.dcm", ViewPosition="AP"), unnamed)
    expect(visit.page.locator(".view[data-painted]:visible")).to_have_count(2)
    visit.settle()
    assert shown(visit.page) == ["frontal.dcm", "unnamed.dcm"]
