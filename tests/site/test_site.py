"""A site file: drafted where labels show a gain, bound, checked, compared, and in a chain of versions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cxrserve.bundle.calibration import identity
from cxrserve.bundle.contract import Bundle, Contract
from cxrserve.bundle.operating_point import Target
from cxrserve.ensemble.calibration import calibrated, log_loss, score_thresholds
from cxrserve.errors import ConfigurationError, RequestError
from cxrserve.findings import INDEX, NAMES
from cxrserve.site.check import check, page
from cxrserve.site.diff import changed_decisions, differences
from cxrserve.site.draft import Wishes, draft, shifted
from cxrserve.site.file import Site, adopt, adopted_contract, check_binding, read_site, site_bytes
from cxrserve.site.history import history
from cxrserve.site.labels import read_labels
from cxrserve.site.points import parse_target, point_for, share
from tests.site.conftest import ARITHMETIC, hospital

HASH = "ab" * 32


def drafted(contract: Contract, films: int = 200, seed: int = 1, **wishes: object) -> Site:
    made, _ = draft(hospital(films, seed), contract, HASH, ARITHMETIC, Wishes(name="A", **wishes))  # type: ignore[arg-type]
    return made


def mean_loss(contract: Contract, seed: int = 77) -> float:
    later = hospital(2000, seed)
    probabilities_NF = calibrated(later.scores_NF, contract)
    return float(
        np.mean([log_loss(probabilities_NF[:, f], later.labels_NF[:, f] == 1) for f in range(len(NAMES))])
    )


def test_200_labels_make_probabilities_better_on_2000_other_films(contract: Contract) -> None:
    made = drafted(contract)
    assert len(made.calibration) >= 12
    before, after = mean_loss(contract), mean_loss(adopted_contract(contract, made))
    assert after < 0.9 * before
    for outcome in made.evidence:
        assert outcome.adopted == (outcome.finding in made.calibration)
        if outcome.adopted:
            assert outcome.log_loss_before is not None
            assert outcome.log_loss_after is not None
            assert outcome.log_loss_after < outcome.log_loss_before


def test_20_labels_adopt_nothing_and_say_why(contract: Contract) -> None:
    made = drafted(contract, films=20)
    assert made.calibration == {}
    assert {outcome.why for outcome in made.evidence} == {"20 labelled films; at least 50 are needed"}


def test_what_is_right_already_is_left_alone(contract: Contract) -> None:
    films = hospital(400, 5, shift=0.0, slope=1.0)
    right = type(films)(**{**vars(films), "labels_NF": np.full_like(films.labels_NF, np.nan)})
    labels = (np.random.default_rng(6).random(films.scores_NF.shape) < films.scores_NF).astype(float)
    right = type(films)(**{**vars(films), "labels_NF": labels})
    made, _ = draft(right, contract, HASH, ARITHMETIC, Wishes(name="A"))
    assert len(made.calibration) <= 3, "by chance, some may gain more than their standard error"


def test_a_recalibration_alone_changes_no_decision(contract: Contract) -> None:
    made, films = drafted(contract), hospital(500, 9)
    assert not any(changed_decisions(None, made, contract, films.scores_NF).values())
    own = adopted_contract(contract, made)
    assert np.allclose(score_thresholds(own), score_thresholds(contract), atol=1e-9)
    assert any(own.calibration_of(name) != contract.calibration_of(name) for name in NAMES)


def test_a_target_is_reached_by_its_lower_bound_or_refused_with_both_numbers(contract: Contract) -> None:
    made = drafted(contract, films=2000, targets={"Edema": Target(kind="sensitivity", value=0.8)})
    point = made.operating_points["Edema"]
    assert point.measured["sensitivity"].low >= 0.8
    assert point.target == Target(kind="sensitivity", value=0.8)
    with pytest.raises(
        RequestError, match=r"Edema: sensitivity of at least 0.99 cannot be shown with \d+ films.*below 0.99"
    ):
        drafted(contract, films=200, targets={"Edema": Target(kind="sensitivity", value=0.99)})


def test_specificity_and_the_form_of_a_target() -> None:
    films = hospital(2000, 4)
    column = INDEX["Edema"]
    point = point_for(
        Target(kind="specificity", value=0.8), films.scores_NF[:, column], films.labels_NF[:, column], "films"
    )
    assert point.measured["specificity"].low >= 0.8
    assert 0.8 < (point.specificity or 0) < 0.84
    assert parse_target("Pleural Effusion:sensitivity=0.95") == (
        INDEX["Pleural Effusion"],
        Target(kind="sensitivity", value=0.95),
    )
    for wrong in ("Edema", "Edema:auc=1", "Dropsy:sensitivity=0.9", "Edema:sensitivity=high"):
        with pytest.raises(RequestError, match="write FINDING:sensitivity"):
            parse_target(wrong)


def test_a_target_is_missed_in_the_population_at_most_as_often_as_promised() -> None:
    """400 sites with 100 positives each: the true sensitivity at the chosen point is below 0.8 in ≤ 2.5 %."""
    random, missed = np.random.default_rng(3), 0
    for _ in range(400):
        labels_N = np.repeat((1.0, 0.0), 100)
        scores_N = np.where(labels_N == 1, random.random(200), 0.0)  # uniform: sensitivity is 1 - threshold
        point = point_for(Target(kind="sensitivity", value=0.8), scores_N, labels_N, "films")
        missed += 1 - point.threshold < 0.8
    assert missed <= 20


def test_shares_have_the_interval_of_clopper_and_pearson() -> None:
    """Values of `scipy.stats.binomtest(8, 10).proportion_ci()`."""
    measured = share(8, 10)
    assert (measured.low, measured.high) == pytest.approx((0.44390454, 0.97478927), abs=1e-6)
    assert (share(0, 10).low, share(10, 10).high) == (0, 1)


def test_a_known_prevalence_shifts_the_intercept_alone(contract: Contract) -> None:
    before = identity("x").model_copy(update={"events": 100, "non_events": 900})
    after = shifted(before, "Edema", 0.2)
    assert after.slope == before.slope
    assert float(after.apply(0.1)) == pytest.approx(0.2)
    with pytest.raises(RequestError, match="does not say in how many films"):
        shifted(identity("x"), "Edema", 0.2)


def test_a_wrong_bundle_engine_or_unit_is_refused_with_both_sides(contract: Contract, tmp_path: Path) -> None:
    made = drafted(contract)
    with pytest.raises(ConfigurationError, match=f"{HASH}; this one has {'cd' * 32}"):
        adopt(Bundle(contract=contract, sha256="cd" * 32, models={}), made, HASH)
    other = ARITHMETIC.model_copy(update={"engine": "onnxruntime"})
    with pytest.raises(ConfigurationError, match=r"openvino .*; this machine computes with onnxruntime"):
        check_binding(made, HASH, contract, other)
    path = tmp_path / "site.json"
    path.write_text(json.dumps(made.model_dump(mode="json") | {"unit": "studies"}))
    with pytest.raises(ConfigurationError, match="unit: Input should be 'images'"):
        read_site(path)
    adopted = adopt(Bundle(contract=contract, sha256=HASH, models={}), made, "ef" * 32)
    assert str(adopted.site) == "site A v1"
    assert adopted.sha256 == HASH


def test_a_history_of_three_versions_verifies_and_a_changed_one_does_not(
    contract: Contract, tmp_path: Path
) -> None:
    previous = None
    for version in (1, 2, 3):
        made = drafted(contract, seed=version, previous=previous)
        assert made.version == version
        path = tmp_path / f"v{version}.json"
        path.write_bytes(site_bytes(made))
        previous = read_site(path)
    assert [item[1].version for item in history(tmp_path)] == [1, 2, 3]
    second = tmp_path / "v2.json"
    second.write_text(second.read_text().replace('"note": ""', '"note": "as ever"'))
    with pytest.raises(ConfigurationError, match="was changed afterwards"):
        history(tmp_path)
    second.unlink()
    with pytest.raises(ConfigurationError, match=r"versions \[1, 3\]"):
        history(tmp_path)


def test_check_measures_later_films(contract: Contract) -> None:
    made = drafted(contract)
    report = check(hospital(1500, 31), contract, made, HASH)
    assert len(report.findings) == len(NAMES)
    for item in report.findings:
        if item.finding in made.calibration:
            assert item.log_loss_site < item.log_loss_bundle
        assert item.auc is not None
        assert 0.8 < item.auc < 1
        assert item.concordance.total == 1500
    slopes = [item.slope for item in report.findings if item.slope is not None]
    assert 0.8 < float(np.median(slopes)) < 1.2
    shown = page(report)
    assert shown.count("<tr>") == 1 + len(NAMES)
    assert "Acceptance test of site A v1" in shown


def test_differences_name_each_number(contract: Contract) -> None:
    one, other = drafted(contract), drafted(contract, seed=2, note="second")
    numbers = [item.number for item in differences(one, other)]
    assert "note" in numbers
    assert any(number.startswith("calibration.") and number.endswith(".slope") for number in numbers)
    assert differences(one, one) == []


def test_a_curve_moves_with_the_sites_calibration_and_is_one_line_of_a_difference(contract: Contract) -> None:
    films, column = hospital(2000, 4), INDEX["Edema"]
    point = point_for(
        Target(kind="sensitivity", value=0.8), films.scores_NF[:, column], films.labels_NF[:, column], "films"
    )
    assert point.curve is not None
    measured = contract.model_copy(update={"operating_points": contract.operating_points | {"Edema": point}})
    made, other = drafted(measured), drafted(measured, seed=2)
    own = adopted_contract(measured, made)
    moved, calibration = own.operating_points["Edema"], own.calibration_of("Edema")
    assert moved.curve is not None
    assert moved.threshold != point.threshold
    assert moved.curve.true_positives == point.curve.true_positives
    # The same films are flagged at each threshold as before.
    scores_T = calibration.invert(np.array(moved.curve.thresholds))
    assert np.allclose(scores_T, point.curve.thresholds, atol=1e-9)
    curves = [item for item in differences(made, other) if "Edema.curve" in item.number]
    assert [item.number for item in curves] == ["operating_points.Edema.curve"]
    assert "thresholds, SHA-256" in curves[0].new


def test_the_watch_reference_is_by_view_and_too_few_films_are_noted(contract: Contract) -> None:
    made, notes = draft(hospital(300, 1), contract, HASH, ARITHMETIC, Wishes(name="A"))
    assert [(group.station, group.view, group.films) for group in made.watch] == [
        ("all", "all", 300),
        ("other", "AP", 100),
        ("other", "PA", 200),
    ]
    assert "fewer than 1000" in notes[0]


def test_labels_are_read_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,patient,station,Edema,Fracture\na.png,p1,Room 3,1,\nsub/b.png,p1,,0,1\n")
    labels = read_labels(path)
    assert labels.labels_NF[:, INDEX["Edema"]].tolist() == [1, 0]
    assert np.isnan(labels.labels_NF[0, INDEX["Fracture"]])
    assert labels.patients == ("p1", "p1")
    films = hospital(2, 1)
    named = type(films)(**{**vars(films), "files": ("a.png", "deep/sub/c.png")}).labelled(labels)
    assert named.stations == ("Room 3", "other")
    assert np.isnan(named.labels_NF[1]).all()
    for text, message in (
        ("name,Edema\n", "no column `file`"),
        ("file,Dropsy\n", "Dropsy are no findings"),
        ("file,Edema\na,maybe\n", r"line 2, Edema: 'maybe'"),
    ):
        path.write_text(text)
        with pytest.raises(RequestError, match=message):
            read_labels(path)
