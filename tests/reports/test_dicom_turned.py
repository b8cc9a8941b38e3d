"""Results of an image that its header turns: they lie over the stored image, the overlay shows it upright."""

from __future__ import annotations

from io import BytesIO
from typing import Final, get_args

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from cxrserve.imaging.orientation import Orientation, as_stored, shown_point, to_standard
from tests import radiographs
from tests.reports.conftest import PATIENT, Make

DIRECTIONS: Final = [pair for x in "LR" for y in "FH" for pair in ((x, y), (y, x))]


@pytest.mark.parametrize("orientation", get_args(Orientation))
def test_regions_and_overlay_of_a_turned_image(make: Make, orientation: Orientation) -> None:
    whole = radiographs.dataset(**PATIENT)
    whole.PatientOrientation = ["L", "F"]
    turned = radiographs.dataset(**PATIENT)
    stored = as_stored(turned.pixel_array, orientation)
    turned.Rows, turned.Columns = stored.shape
    turned.PixelData = stored.tobytes()
    turned.PatientOrientation = list(next(each for each in DIRECTIONS if to_standard(each) == orientation))
    upright, results = make(_file(whole)), make(_file(turned))

    assert np.array_equal(
        upright.reading.prediction.probabilities_F, results.reading.prediction.probabilities_F, equal_nan=True
    )
    assert (results.summary.rows, results.summary.columns) == stored.shape
    regions = 0
    for one, other in zip(upright.summary.findings, results.summary.findings, strict=True):
        assert len(one.regions) == len(other.regions)
        for expected, region in zip(one.regions, other.regions, strict=True):
            points = [shown_point(x, y, stored.shape, orientation) for x, y in region.points]
            for middle in (np.min, np.max):
                assert np.allclose(middle(expected.points, axis=0), middle(points, axis=0), atol=2.5)
            regions += 1
    assert regions > 0
    overlay, segmentation = (
        pydicom.dcmread(BytesIO(results.objects[kind].part10)) for kind in ("overlay", "segmentation")
    )
    assert list(overlay.PatientOrientation) == ["L", "F"]
    assert (segmentation.Rows, segmentation.Columns) == stored.shape


def _file(dataset: FileDataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
