"""The same file gets the same answer by `POST /predict` and by C-STORE: a small comparison of the two."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests import dcmtk
from tests.benchmarks.compare_protocols import compare, with_own_identifiers
from tests.pacs.conftest import new_chest
from tests.stations import Station

CASES: dict[str, dict[str, object]] = {
    "plain": {},
    "white-is-low": {"PhotometricInterpretation": "MONOCHROME1"},
    "hand": {"BodyPartExamined": "HAND"},
    "wasted-bits": {"BitsStored": 16, "HighBit": 15},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    return [new_chest(folder / f"{name}.dcm", **elements) for name, elements in CASES.items()]


def test_http_and_dimse_agree(tiny_bundle: Path, files: list[Path], tmp_path: Path) -> None:
    answers = {path.stem: (http, dimse) for path, http, dimse in compare(tiny_bundle, files, tmp_path)}
    assert answers.keys() == CASES.keys()
    for name, (http, dimse) in answers.items():
        assert http.agrees(dimse), (name, http, dimse)
    assert answers["hand"][0].problem == "not-a-chest-radiograph"
    assert len(answers["plain"][0].probabilities) == 14
    assert not answers["plain"][0].agrees(answers["hand"][1])


def test_own_identifiers_leave_everything_else_as_it_is() -> None:
    uid = str(generate_uid())
    part10 = b"1.2.840.10008.1.2.1\0 1.5 " + uid.encode() + b" 2.25.9000015"
    copy = with_own_identifiers(part10, 7)
    assert len(copy) == len(part10)
    assert copy.endswith(b" 2.25.9010715")
    assert copy.startswith(b"1.2.840.10008.1.2.1\0 1.5 ")
    assert uid.encode() not in copy


def test_the_stations_log_has_the_codes_of_warnings(node: Station, tmp_path: Path) -> None:
    small = new_chest(tmp_path / "small.dcm")  # 120 × 100 pixels, fewer than the largest network reads
    assert "Received Store Response (Success)" in dcmtk.storescu(node.dicom_port, small)
    node.said(r"object=\w+ state=done outcome=ok .* warnings=(\S+,)?enlarged\b")
