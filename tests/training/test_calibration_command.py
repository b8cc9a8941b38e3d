"""Tests of `cxrserve models calibrate`: what it changes in a bundle, and what it leaves as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cxrserve.bundle.contract import Contract, read_contract
from cxrserve.ensemble.calibration import score_thresholds
from cxrserve.ensemble.predictor import Predictor
from cxrserve.ensemble.stack import sigmoid
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES
from cxrserve.settings import Settings
from tests.bundles import write_tiny_bundle
from training.calibration import kept
from training.calibration.bundle import Labelled, calibrated_contract, gains, heatmap_scales
from training.calibration.images import calibrate_bundle, kept_of_phantoms
from training.phantom import write_phantoms
from training.steps.model_card import refresh_card, write_card


def _images(count: int, *, a_study: int = 1, seed: int = 0) -> Labelled:
    """Scores that are too sure of themselves by a slope of 2 and shifted by 1."""
    random = np.random.default_rng(seed)
    present_N1 = random.random((count // a_study, 1)) < 0.3
    present_NF = np.repeat(present_N1, a_study, axis=0) * np.ones((1, len(NAMES)), bool)
    logits_NF = random.normal(size=present_NF.shape) * 1.5 + 2.25 * present_NF - 1.125
    maxima_NF = np.where(present_NF, random.uniform(40, 60, present_NF.shape), np.nan)
    return Labelled(
        scores_NF=sigmoid(2 * (logits_NF + np.log(0.3 / 0.7)) + 1),
        labels_NF=present_NF.astype(np.float64),
        study_N=np.repeat(np.arange(count // a_study), a_study),
        maxima_NF=maxima_NF,
        data="drawn images",
    )


@pytest.fixture
def contract(tiny_bundle: Path) -> Contract:
    return read_contract(tiny_bundle)[0]


def test_probabilities_become_calibrated_and_no_decision_changes(contract: Contract) -> None:
    calibrated = calibrated_contract(contract, _images(3000))
    for name in NAMES:
        assert calibrated.calibration_of(name).slope == pytest.approx(0.5, abs=0.1)
    new = _images(3000, seed=1)
    assert all(gain.after < 0.95 * gain.before for gain in gains(calibrated, new))
    np.testing.assert_allclose(score_thresholds(calibrated), score_thresholds(contract), atol=1e-12)
    again = calibrated_contract(calibrated, _images(3000))
    np.testing.assert_allclose(score_thresholds(again), score_thresholds(contract), atol=1e-12)
    assert again.calibration_of("Edema").slope == pytest.approx(calibrated.calibration_of("Edema").slope)
    point, before = again.operating_points["Edema"], calibrated.operating_points["Edema"]
    assert point.threshold == pytest.approx(before.threshold, abs=1e-12)
    assert (point.measured, point.data) == (before.measured, before.data)


def test_operating_points_hold_their_counts_and_intervals(contract: Contract) -> None:
    images = _images(1000)
    point = calibrated_contract(contract, images).operating_points["Edema"]
    scores_N, present_N = images.scores_NF[:, INDEX["Edema"]], images.labels_NF[:, INDEX["Edema"]] > 0.5
    sensitivity = point.measured["sensitivity"]
    assert (sensitivity.count, sensitivity.total) == (
        int((scores_N >= 0.5)[present_N].sum()),
        present_N.sum(),
    )
    assert all(share.low < share.value < share.high for share in point.measured.values())
    assert (point.events, point.non_events) == (present_N.sum(), (~present_N).sum())
    assert "measured on 1000 drawn images" in point.data


def test_studies_of_several_images_have_their_own_calibration_and_points(contract: Contract) -> None:
    assert not calibrated_contract(contract, _images(600)).study_calibration
    calibrated = calibrated_contract(contract, _images(1800, a_study=3))
    assert calibrated.operating_points["Edema"].unit == "images"
    study = calibrated.point_of("Edema", "studies")
    assert study is not None
    assert study.unit == "studies"
    # The largest of three scores of one study says less than each of them seems to.
    assert (
        calibrated.calibration_of("Edema", "studies").intercept < calibrated.calibration_of("Edema").intercept
    )


def test_the_heatmap_scale_is_the_median_of_present_and_found(contract: Contract) -> None:
    images = _images(1000)
    scales = heatmap_scales(contract, images)
    assert set(scales) == set(NAMES)
    assert all(45 < scale < 55 for scale in scales.values())
    few = _images(20)
    assert heatmap_scales(contract, few) == {}


def test_the_command_rewrites_a_bundle_from_labelled_files(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    write_phantoms(tmp_path / "few", 2, seed=70)
    data = f"folder:{tmp_path / 'few'}"
    with pytest.raises(RequestError, match="2 labelled images"):
        calibrate_bundle(bundle, data=data, phantoms=0, seed=0, version=None)
    with pytest.raises(RequestError, match="one of the two"):
        calibrate_bundle(bundle, data=data, phantoms=5, seed=0, version=None)
    assert read_contract(bundle)[0] == read_contract(tiny_bundle)[0]


def test_an_interrupted_calibration_goes_on_from_its_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "PART", 2)
    monkeypatch.setattr("training.calibration.images.PART", 2)
    store, console = tmp_path / "outputs", Console(quiet=True)
    predictor = Predictor.open(Settings(bundle=write_tiny_bundle(tmp_path / "bundle", (64, 128)), threads=1))
    whole = kept_of_phantoms(predictor, 5, 60, tmp_path / "whole", console)
    kept_of_phantoms(predictor, 3, 60, store, console)
    assert [file.name for file in store.iterdir()] == ["outputs-000000.npz"]
    first = (store / "outputs-000000.npz").read_bytes()
    resumed = kept_of_phantoms(predictor, 5, 60, store, console)
    assert (store / "outputs-000000.npz").read_bytes() == first
    assert [image.study for image in resumed] == [60, 61, 62, 63, 64]
    for image, same in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(image.labels_F, same.labels_F)
        for size in (64, 128):
            np.testing.assert_array_equal(image.logits[size], same.logits[size])
            np.testing.assert_array_equal(image.maps[size], same.maps[size])
    with pytest.raises(RequestError, match="other networks, seeds or arithmetic"):
        kept_of_phantoms(predictor, 5, 61, store, console)
    (store / "outputs-000002.npz").write_bytes(b"half a file")
    with pytest.raises(RequestError, match=r"outputs-000002\.npz cannot be read"):
        kept_of_phantoms(predictor, 5, 60, store, console)


def test_outputs_are_kept_of_phantoms_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--outputs"):
        calibrate_bundle(tiny_bundle, data="folder:x", phantoms=0, seed=0, version=None, outputs=tmp_path)


def test_a_card_of_ours_follows_the_calibration_and_another_stays(contract: Contract, tmp_path: Path) -> None:
    calibrated = calibrated_contract(contract, _images(1200))
    assert not refresh_card(tmp_path, calibrated)
    (tmp_path / "README.md").write_text("# Our own words")
    assert not refresh_card(tmp_path, calibrated)
    assert (tmp_path / "README.md").read_text() == "# Our own words"
    write_card(tmp_path, contract, {})
    assert "is the stack's sum, which is not calibrated" in (tmp_path / "README.md").read_text()
    assert refresh_card(tmp_path, calibrated)
    card = (tmp_path / "README.md").read_text()
    edema = calibrated.operating_points["Edema"]
    assert "Fitted on 1200 drawn images" in card
    assert f"| Edema | logistic | {edema.events} | {edema.non_events} | {edema.threshold:.3f} |" in card
