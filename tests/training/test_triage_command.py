"""`cxrserve models triage`: a bundle learns when it may stop, and the service keeps to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import read_contract, write_contract
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.pipeline.triage import run_triage
from cxrserve.settings import Settings
from tests import radiographs
from training.cli.triage import triage
from training.triage.calibrate import FEWEST
from training.triage.logits import of_phantoms


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_phantoms_calibrate_a_bundle(bundle: Path) -> None:
    triage(bundle, phantoms=48, seed=7, epsilon=0.05)
    early = read_contract(bundle)[0].triage
    assert early is not None
    assert early.images == 24
    assert early.fitted_on == "7 of 48 phantoms, seeds from 7"
    assert [str(each) for each in early.arithmetics] == ["openvino in f32"]
    assert "radiographs of people" in " ".join(early.caveats)
    assert {check.guarantee for check in early.checked} == {"exact", "conformal"}
    assert all(check.differing == 0 for check in early.checked if check.guarantee == "exact")
    with Pipeline(Settings(bundle=bundle, threads=1, decode_workers=1)) as pipeline:
        decided = run_triage(pipeline, radiographs.jpeg(), guarantee="conformal", epsilon=0.1)
        assert decided.doubts == (early.caveats if decided.triage.predicts else ())
        assert set(decided.triage.settled_by) == set(range(14))
        with pytest.raises(RequestError, match="calibrated on 24 images"):
            run_triage(pipeline, radiographs.jpeg(), guarantee="conformal", epsilon=0.01)


def test_films_calibrate_a_bundle_without_labels(bundle: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number in range(FEWEST):
        (films / f"{number}.jpg").write_bytes(radiographs.jpeg())
    (films / "notes.txt").write_text("no film")
    triage(bundle, films=[films])
    early = read_contract(bundle)[0].triage
    assert early is not None
    assert early.data == "20 of 40 films, taken to be one a patient"


def test_an_interrupted_call_goes_on_from_the_logits_it_kept(bundle: Path, tmp_path: Path) -> None:
    kept, console = tmp_path / "logits.npz", Console(quiet=True)
    predictors = [
        Predictor.open(Settings(bundle=bundle, engine=engine, precision="f32"))
        for engine in ("openvino", "onnxruntime")
    ]
    some = of_phantoms(3, 7, predictors, console, kept)
    more = of_phantoms(5, 7, predictors, console, kept)
    assert more.shape[:2] == (2, 5)
    np.testing.assert_array_equal(more[:, :3], some)
    np.testing.assert_allclose(more[0], more[1], atol=1e-4)
    # Of other phantoms nothing is known yet.
    other = of_phantoms(1, 8, predictors, console, kept)
    np.testing.assert_array_equal(other[:, 0], more[:, 1])


def test_logits_that_were_kept_are_not_taken_for_those_of_members_calibrated_since(
    bundle: Path, tmp_path: Path
) -> None:
    kept, console = tmp_path / "logits.npz", Console(quiet=True)
    settings = Settings(bundle=bundle, engine="openvino", precision="f32")
    before = of_phantoms(2, 7, [Predictor.open(settings)], console, kept)
    contract = read_contract(bundle)[0]
    halved = {name: Calibration(slope=0.5, intercept=1.0, data="tests") for name in NAMES}
    members = [member.model_copy(update={"calibration": halved}) for member in contract.members]
    write_contract(bundle, contract.model_copy(update={"members": tuple(members)}))
    after = of_phantoms(2, 7, [Predictor.open(settings)], console, kept)
    np.testing.assert_allclose(after, 0.5 * before + 1, atol=1e-9)


def test_too_few_films_and_none_are_refused(bundle: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.jpg"
    film.write_bytes(radiographs.jpeg())
    with pytest.raises(RequestError, match="1 films could be read"):
        triage(bundle, films=[film])
    with pytest.raises(RequestError, match="one of the two"):
        triage(bundle)
