"""The film check before the engines: refused films cost none of them, corrected ones equal upright ones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxrserve.bundle.contract import read_contract
from cxrserve.errors import BundleError, InvertedImage, TurnedImage
from cxrserve.pipeline.pipeline import Pipeline, Reading
from cxrserve.pipeline.triage import run_triage
from cxrserve.settings import Settings
from cxrserve.warnings import WarningCode
from training.phantom import make_phantom
from training.phantom.phantom import WHITE

DEMO = Path(__file__).parents[2] / "models" / "demo"
CODES = {
    WarningCode.UNLIKE_TRAINING,
    WarningCode.NOT_A_CHEST,
    WarningCode.TURNED,
    WarningCode.INVERTED,
    WarningCode.MIRRORED,
    WarningCode.CUT_OFF,
}
# A seed of no recipe.
SEED = 4_000_000


@pytest.fixture(scope="module")
def phantom_HW() -> NDArray[np.uint16]:
    return make_phantom(SEED).radiograph.pixels_HW.astype(np.uint16)


def png(pixels_HW: NDArray[np.uint16]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_HW)).save(stream, "PNG")
    return stream.getvalue()


def pipeline(**changes: object) -> Pipeline:
    settings = {"bundle": DEMO, "threads": 1, "decode_workers": 1, "precision": "f32", **changes}
    return Pipeline(Settings.model_validate(settings))


@pytest.fixture(scope="module")
def refusing() -> Iterator[Pipeline]:
    with pipeline() as made:
        yield made


@pytest.fixture(scope="module")
def correcting() -> Iterator[Pipeline]:
    with pipeline(film_check_correct="both") as made:
        yield made


def images_computed(made: Pipeline) -> float:
    """Images that the engines have computed, by their own counters."""
    return sum(
        sample.value
        for metric in made.metrics.registry.collect()
        if metric.name == "cxrserve_batch_images"
        for sample in metric.samples
        if sample.name.endswith("_sum")
    )


def read(made: Pipeline, pixels_HW: NDArray[np.uint16]) -> Reading:
    return made.read(png(pixels_HW), explain="all", explain_scales=True, preview_side=96)


def check_codes(reading: Reading) -> set[WarningCode]:
    """Codes of the film check's warnings."""
    return {warning.code for warning in reading.image.warnings} & CODES


def test_a_good_film_is_analysed_without_a_warning_of_the_check(
    refusing: Pipeline, phantom_HW: NDArray[np.uint16]
) -> None:
    before = images_computed(refusing)
    reading = read(refusing, phantom_HW)
    assert images_computed(refusing) == before + 4
    assert not check_codes(reading)
    assert reading.timing_ms["film_check"] > 0


def test_a_refused_film_submits_nothing_to_an_engine(
    refusing: Pipeline, phantom_HW: NDArray[np.uint16]
) -> None:
    before = images_computed(refusing)
    for quarters in (1, 2, 3):
        with pytest.raises(TurnedImage):
            read(refusing, np.rot90(phantom_HW, quarters))
    with pytest.raises(InvertedImage):
        read(refusing, WHITE - phantom_HW)
    with pytest.raises(InvertedImage):
        run_triage(refusing, png(WHITE - phantom_HW))
    assert images_computed(refusing) == before


@pytest.mark.parametrize(("quarters", "inverted"), [(1, False), (2, True), (3, False), (0, True)])
def test_a_corrected_film_equals_the_upright_one(
    correcting: Pipeline, phantom_HW: NDArray[np.uint16], quarters: int, inverted: bool
) -> None:
    upright = read(correcting, phantom_HW)
    stored_HW = np.rot90(WHITE - phantom_HW if inverted else phantom_HW, quarters)
    reading = read(correcting, stored_HW)
    apart_F = reading.prediction.probabilities_F - upright.prediction.probabilities_F
    assert np.abs(apart_F).max() <= 1e-6
    for finding, map_GG in upright.prediction.maps.items():
        assert np.allclose(np.rot90(map_GG, quarters), reading.prediction.maps[finding], atol=1e-5)
        for size, scale_SS in upright.prediction.scale_maps[finding].items():
            turned_SS = reading.prediction.scale_maps[finding][size]
            assert np.allclose(np.rot90(scale_SS, quarters), turned_SS, atol=1e-5)
    assert (reading.image.about.rows, reading.image.about.columns) == stored_HW.shape
    codes = check_codes(reading)
    assert (WarningCode.TURNED in codes) == (quarters > 0)
    assert (WarningCode.INVERTED in codes) == inverted
    steps = " ".join(reading.image.applied)
    assert ("clockwise-by-film-check" in steps) == (quarters > 0)
    assert ("invert-by-film-check" in steps) == inverted


def test_a_mirrored_film_is_analysed_as_it_lies(correcting: Pipeline, phantom_HW: NDArray[np.uint16]) -> None:
    reading = read(correcting, phantom_HW[:, ::-1])
    assert check_codes(reading) == {WarningCode.MIRRORED}
    assert not any("film-check" in step for step in reading.image.applied)


def test_the_check_can_be_turned_off(phantom_HW: NDArray[np.uint16]) -> None:
    with pipeline(film_check="off") as made:
        reading = read(made, np.rot90(phantom_HW, 2))
    assert not check_codes(reading)


def test_a_film_check_that_was_changed_is_refused(tmp_path: Path) -> None:
    for file in DEMO.iterdir():
        if file.suffix in (".json", ".onnx"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    section = read_contract(tmp_path)[0].film_check
    assert section is not None
    path = tmp_path / section.file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match="SHA-256"):
        pipeline(bundle=tmp_path)


def test_warnings_are_counted_by_code(correcting: Pipeline, phantom_HW: NDArray[np.uint16]) -> None:
    """A film that was turned for the analysis is answered with a warning, which the metrics count."""
    counter = correcting.metrics.image_warnings.labels(WarningCode.TURNED)
    before = counter._value.get()
    reading = correcting.read(png(np.rot90(phantom_HW)))
    assert WarningCode.TURNED in {warning.code for warning in reading.image.warnings}
    assert counter._value.get() == before + 1
