"""A radiograph in by DICOM, its results back into the same study of a real PACS, judged by others' tools."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)

from cxrserve.findings import FINDINGS
from tests import dcmtk
from tests.orthanc import Orthanc
from tests.pacs.conftest import with_new_uids
from tests.stations import Station

REPORT, STATE, OVERLAY = (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
)
# dciodvfy asks for it wherever a body part is paired; a chest is not, and Secondary Capture cannot say so.
KNOWN_ERRORS = ("Missing attribute Type 2C Conditional Element=<Laterality>",)


@dataclass(frozen=True)
class Results:
    """What came back for one radiograph.

    Attributes:
        source: the radiograph that was sent.
        files: of the results, by SOP class.
    """

    source: Dataset
    files: dict[UID, Path]

    def dataset(self, sop_class: UID) -> Dataset:
        """A result, read."""
        return dcmread(self.files[sop_class])


def results_of(path: Path, pacs: Orthanc, folder: Path) -> Results:
    """Wait until the results of the radiograph in `path` are in the PACS, and fetch them."""
    source = dcmread(path)
    study = str(source.StudyInstanceUID)
    identifiers = pacs.wait_for_study(study, 3)
    files: dict[UID, Path] = {}
    for identifier in identifiers:
        file = folder / f"{identifier}.dcm"
        file.write_bytes(pacs.file(identifier))
        files[dcmread(file).SOPClassUID] = file
    return Results(source, files)


@pytest.fixture(params=["phantom", "real", "by STOW-RS"])
def results(
    request: pytest.FixtureRequest, node: Station, pacs: Orthanc, phantom_file: Path, tmp_path: Path
) -> Results:
    """Results of a phantom, of a real CR in JPEG-LS, and of a phantom whose results go by STOW-RS."""
    options: tuple[str, ...] = ()
    file = phantom_file
    if request.param == "real":
        cr = request.getfixturevalue("realdata") / "dicom" / "cr_dx" / "wg04_RG1_JLSN.dcm"
        file, options = with_new_uids(cr, tmp_path / "cr.dcm"), ("-xu",)
    elif request.param == "by STOW-RS":
        options = ("-aet", "WEBSENDER")
    said = dcmtk.storescu(node.dicom_port, file, options=options)
    assert "Received Store Response (Success)" in said
    return results_of(file, pacs, tmp_path)


def test_report_overlay_and_state_arrive_and_are_valid(
    results: Results, pacs: Orthanc, tmp_path: Path
) -> None:
    assert set(results.files) == {REPORT, STATE, OVERLAY}
    study = str(results.source.StudyInstanceUID)
    for sop_class in results.files:
        dataset = results.dataset(sop_class)
        assert dataset.StudyInstanceUID == study
        assert dataset.SeriesInstanceUID != results.source.SeriesInstanceUID
        assert dataset.PatientID == results.source.PatientID
        assert str(dataset.PatientName) == str(results.source.PatientName)
    assert {each["00080016"]["Value"][0] for each in pacs.search(StudyInstanceUID=study)} == set(
        results.files
    )

    for file in results.files.values():
        said = dcmtk.run("dciodvfy", file).stdout.splitlines()
        errors = [line for line in said if line.startswith("Error")]
        assert [line for line in errors if not any(known in line for known in KNOWN_ERRORS)] == []
    assert "Test passed" in dcmtk.run("dcmpschk", results.files[STATE]).stdout
    dumped = dcmtk.run("dsrdump", "+Pc", results.files[REPORT]).stdout
    found = re.findall(r'\(121071,DCM,"Finding"\)=\(([^,]+),([^,]+),', dumped)
    assert {(each.code.value, each.code.scheme) for each in FINDINGS} == set(found), dumped
    assert len(found) >= len(FINDINGS) == 14  # located ones come once more


def test_the_overlay_can_be_looked_at(results: Results, pacs: Orthanc) -> None:
    overlay = results.dataset(OVERLAY)
    answer = httpx.get(
        f"{pacs.dicom_web}/studies/{overlay.StudyInstanceUID}/series/{overlay.SeriesInstanceUID}"
        f"/instances/{overlay.SOPInstanceUID}/rendered",
        headers={"Accept": "image/png"},
        timeout=30,
    )
    answer.raise_for_status()
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert picture.shape == (overlay.Rows, overlay.Columns, 3)
    assert picture.std() > 10  # not blank
    assert overlay.BurnedInAnnotation == "YES"
