"""Real radiographs and corner cases, where the shared folder is at hand. Nothing of it is copied here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from cxrserve.errors import CxrserveError, ImageError
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare, read_radiograph
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.pyramid import Preprocessing
from tests.conftest import REALDATA

PREPROCESSING: Final = Preprocessing(profile="mimic-cxr-jpg", sizes=(256, 512, 1024, 2048))

pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason=f"{REALDATA.name} is not beside the repository")


def expectations() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REALDATA / "expect.json").read_text()) if REALDATA.is_dir() else {}
    return found


def attempt(path: Path) -> PreparedImage | CxrserveError:
    try:
        return prepare(path.read_bytes(), PREPROCESSING, Limits(), preview_side=256)
    except CxrserveError as error:
        return error


@pytest.mark.parametrize("name", expectations().get("must_answer", []))
def test_must_answer(name: str) -> None:
    assert isinstance(attempt(REALDATA / "dicom" / name), PreparedImage)


@pytest.mark.parametrize("name", expectations().get("must_refuse", []))
def test_must_refuse(name: str) -> None:
    assert isinstance(attempt(REALDATA / "dicom" / name), ImageError)


def test_the_same_radiograph_gives_the_same_values() -> None:
    for first, second in expectations()["same"]:
        one, other = (
            read_radiograph((REALDATA / "dicom" / name).read_bytes(), Limits()) for name in (first, second)
        )
        assert np.array_equal(one.pixels_HW, other.pixels_HW), (first, second)


def test_every_dicom_file_is_answered_or_refused() -> None:
    paths = sorted(path for path in (REALDATA / "dicom").rglob("*") if path.is_file())
    assert len(paths) > 100
    for path in paths:
        outcome = attempt(path)
        if isinstance(outcome, CxrserveError):
            assert 400 <= outcome.http_status < 500, path
            assert len(outcome.detail) > 20, path


def test_every_radiograph_is_answered() -> None:
    paths = sorted((REALDATA / "cxr").iterdir())
    assert len(paths) > 30
    for path in paths:
        outcome = attempt(path)
        assert isinstance(outcome, PreparedImage), path
        assert outcome.preview_HW is not None
        assert outcome.preview_HW.shape[0] * outcome.about.columns == pytest.approx(
            outcome.preview_HW.shape[1] * outcome.about.rows, rel=0.01
        )
