"""Exports: the overlay, the answer, the DICOM objects."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect
from pydicom import dcmread

from cxrserve.findings import NAMES
from tests.browser.conftest import Visit, dicom_file, jpeg_file


def test_the_overlay_the_answer_and_the_dicom_objects(visit: Visit, tmp_path: Path) -> None:
    visit.read(dicom_file(PatientName="Secret^Person"))
    visit.finding(NAMES[0])
    visit.settle()
    picture = Image.open(_taken(visit, "export-png", tmp_path))
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=2) > 30).any(), "the heatmap has colours"
    answer = json.loads(_taken(visit, "export-json", tmp_path).read_text())
    assert [each["finding"] for each in answer["findings"]] == list(NAMES)
    with zipfile.ZipFile(_taken(visit, "export-dicom", tmp_path)) as archive:
        assert archive.testzip() is None
        objects = [dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert "1.2.840.10008.5.1.4.1.1.88.34" in {each.SOPClassUID for each in objects}  # the report
    assert {str(each.PatientName) for each in objects} == {"Secret^Person"}


def test_an_image_that_is_no_dicom_offers_no_dicom(visit: Visit) -> None:
    visit.read(jpeg_file())
    visit.page.keyboard.press("e")
    expect(visit.page.locator("#export-dicom")).to_be_disabled()
    expect(visit.page.locator("#export-json")).to_be_enabled()


def _taken(visit: Visit, item: str, folder: Path) -> Path:
    visit.page.locator("#export").click()
    with visit.page.expect_download() as downloaded:
        visit.page.locator(f"#{item}").click()
    name = downloaded.value.suggested_filename
    assert name.startswith("cxrserve-")
    assert "ecret" not in name
    downloaded.value.save_as(folder / name)
    return folder / name
