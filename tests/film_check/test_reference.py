"""Distances and ranks of a reference, and its place in the contract."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from cxrserve.bundle.film_check import FilmCheck, Reference
from cxrserve.film_check.reference import Gaussian
from tests.film_check.looks import reference, section


def test_the_distance_is_mahalanobis() -> None:
    rng = np.random.default_rng(0)
    root = np.tril(rng.normal(size=(2, 2)))
    precision = root.T @ root
    stored = reference("films", own=True).model_copy(
        update={"mean": (1.0, -2.0), "whitening": ((root[0, 0],), (root[1, 0], root[1, 1]))}
    )
    for features_D in rng.normal(size=(5, 2)).astype(np.float32):
        apart = features_D - np.array([1.0, -2.0])
        assert Gaussian(stored).distance(features_D) == pytest.approx(apart @ precision @ apart, rel=1e-6)


def test_the_rank_is_uniform_for_films_of_the_reference() -> None:
    gaussian = Gaussian(reference("films", own=True, films=2000))
    features_ND = np.random.default_rng(1).normal(size=(4000, 2)).astype(np.float32)
    ranks_N = np.array([gaussian.rank(features_D) for features_D in features_ND])
    for level in (0.01, 0.05, 0.5):
        assert (ranks_N <= level).mean() == pytest.approx(level, abs=0.025)
    assert gaussian.rank(np.array([99, 99], np.float32)) == pytest.approx(1 / 2001)


def test_a_doubtful_chest_makes_a_film_stranger() -> None:
    gaussian = Gaussian(reference("films", own=True))
    near, far = np.zeros(2, np.float32), np.array([3, 3], np.float32)
    assert gaussian.likeness(near, 0.99) > 0.5
    assert gaussian.likeness(near, 0.1) < gaussian.likeness(near, 0.99)
    assert gaussian.likeness(far, 0.1) < 0.01


def test_a_section_survives_its_json() -> None:
    assert FilmCheck.model_validate_json(section().model_dump_json()) == section()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"whitening": ((1.0,), (1.0,))}, "whitening"),
        ({"distances": (2.0, 1.0)}, "ascending"),
        ({"chests": (0.9, 0.1)}, "ascending"),
    ],
)
def test_a_reference_that_contradicts_itself(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Reference.model_validate({**reference("films", own=True).model_dump(), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": 3}, "2 features"),
        ({"references": (reference("a", own=True), reference("a", own=False))}, "twice"),
        ({"refused_views": ("lateral",)}, "refused views"),
    ],
)
def test_a_section_that_contradicts_itself(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section(**changes)
