"""Rule-out and rule-in: the bounds hold in the population as often as promised, and decisions follow them."""

from __future__ import annotations

import numpy as np
import pytest

from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import Contract
from cxrserve.ensemble.calibration import decision
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX
from cxrserve.site.draft import Wishes, draft
from cxrserve.site.file import Site, adopted_contract
from cxrserve.site.pairs import PairWish, pair_for, parse_pair
from tests.site.conftest import ARITHMETIC, hospital

WISH = PairWish(missed=0.05, ppv=0.5)
SHIFT = 2.5  # of the logits of films with the finding


def drawn(films: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities of a finding with a prevalence of 0.2, and labels."""
    labels_N = (random.random(films) < 0.2).astype(float)
    values_N = random.normal(size=films) + SHIFT * labels_N
    logits_N = SHIFT * values_N - SHIFT**2 / 2 + np.log(0.2 / 0.8)
    return 1 / (1 + np.exp(-logits_N)), labels_N


def test_at_most_5_percent_of_1000_adoptions_break_either_bound() -> None:
    """The truth is that of 400,000 films; each adoption has 600 of its own."""
    random = np.random.default_rng(11)
    truth_N, labels_N = drawn(400_000, random)
    positives = np.sort(truth_N[labels_N == 1])
    negatives = np.sort(truth_N[labels_N == 0])
    broken = {"missed": 0, "ppv": 0}
    for _ in range(1000):
        pair = pair_for(WISH, *drawn(600, random), "films")
        broken["missed"] += int(np.searchsorted(positives, pair.rule_out)) > WISH.missed * len(positives)
        hits = len(positives) - int(np.searchsorted(positives, pair.rule_in))
        alarms = len(negatives) - int(np.searchsorted(negatives, pair.rule_in))
        broken["ppv"] += hits / (hits + alarms) < WISH.ppv
    assert broken["missed"] <= 50, broken
    assert broken["ppv"] <= 50, broken


@pytest.mark.parametrize(("missed", "needed"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_too_few_positives_are_refused_with_the_number_that_is_needed(missed: float, needed: int) -> None:
    labels_N = np.repeat((1.0, 0.0), needed)
    probabilities_N = np.where(labels_N == 1, 0.9, 0.1)
    pair = pair_for(PairWish(missed, 0.5), probabilities_N, labels_N, "films")
    assert (pair.events, pair.undecided) == (needed, 0)
    with pytest.raises(RequestError, match=f"with {needed - 1} films with the finding.*needs {needed}"):
        pair_for(PairWish(missed, 0.5), probabilities_N[1:], labels_N[1:], "films")


def test_a_ppv_that_no_threshold_reaches_is_refused_with_the_best() -> None:
    probabilities_N, labels_N = drawn(600, np.random.default_rng(3))
    with pytest.raises(RequestError, match=r"PPV of at least 0.99 cannot be shown.*lower bound is 0\.\d+"):
        pair_for(PairWish(0.05, 0.99), probabilities_N, labels_N, "films")


def test_a_drafted_pair_decides_the_same_films_under_the_sites_calibration(contract: Contract) -> None:
    films = hospital(2000, 4)
    made, _ = draft(films, contract, "ab" * 32, ARITHMETIC, Wishes(name="A", pairs={"Edema": WISH}))
    site = Site.model_validate_json(made.model_dump_json())
    assert "Edema" in site.calibration, "the calibration was adopted, so the pair has moved"
    pair = site.operating_points["Edema"].pair
    assert pair is not None
    assert 0 < pair.undecided < 0.5
    own = adopted_contract(contract, site)
    calibration: Calibration = own.calibration_of("Edema")
    scores_N, labels_N = films.scores_NF[:, INDEX["Edema"]], films.labels_NF[:, INDEX["Edema"]]
    said = [decision("Edema", float(probability), own) for probability in calibration.apply(scores_N)]
    assert said.count("undecided") == pytest.approx(pair.undecided * len(said), abs=1)
    missed = sum(word == "absent" and label == 1 for word, label in zip(said, labels_N, strict=True))
    assert missed <= WISH.missed * labels_N.sum()


def test_the_form_of_a_wish() -> None:
    assert parse_pair("Edema:missed=0.05,ppv=0.5") == (INDEX["Edema"], WISH)
    for wrong in ("Edema", "Edema:missed=0.05", "Edema:missed=0,ppv=0.5", "Dropsy:missed=0.05,ppv=0.5"):
        with pytest.raises(RequestError, match=r"write FINDING:missed=0\.05,ppv=0\.5"):
            parse_pair(wrong)
