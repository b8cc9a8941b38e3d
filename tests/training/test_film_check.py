"""The film check's task, fit, export, references and table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.film_check.look import Looker
from cxrserve.film_check.network import FilmCheckNetwork as ServedNetwork
from training.film_check.build import Films, build_section
from training.film_check.export import export
from training.film_check.fit import fit
from training.film_check.measure import cut_off
from training.film_check.network import FEATURES
from training.film_check.no_chest import no_chest
from training.film_check.reference import gaussian, held_out_distances
from training.film_check.task import draw_cut, make_example, turned, turned_sides
from training.recipes.config import FilmCheckConfig

DEMO = Path(__file__).parents[2] / "models" / "demo"


def pictures(count: int) -> list[NDArray[np.uint8]]:
    """Smooth pictures that differ."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8), np.uint8)
    return [
        np.asarray(cv2.resize(each, (256, 256), interpolation=cv2.INTER_CUBIC), np.uint8) for each in coarse
    ]


def test_the_eight_orientations_differ_and_sides_go_with_them() -> None:
    picture_SS = np.zeros((8, 8), np.uint8)
    sides: list[tuple[int | slice, int | slice]] = [
        (0, slice(None)),
        (slice(None), -1),
        (-1, slice(None)),
        (slice(None), 0),
    ]
    for side, cells in enumerate(sides):
        marked_SS = picture_SS.copy()
        marked_SS[cells] = 255
        cut_4 = np.eye(4, dtype=np.float32)[side]
        for turn in range(8):
            found = int(turned_sides(cut_4, turn).argmax())
            edges = [
                turned(marked_SS, turn)[each]
                for each in (np.s_[0, :], np.s_[:, -1], np.s_[-1, :], np.s_[:, 0])
            ]
            assert (edges[found] == 255).all()
    shape_SS = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert len({turned(shape_SS, turn).tobytes() for turn in range(8)}) == 8


def test_orientations_are_equally_frequent_and_examples_repeat() -> None:
    whole_SS = cv2.resize(pictures(1)[0], (128, 128)).astype(np.uint8)
    examples = [make_example(whole_SS, np.random.default_rng([1, number])) for number in range(600)]
    chests = [example for example in examples if example.chest]
    counts = np.bincount([example.turn for example in chests], minlength=8)
    assert 0.7 < len(chests) / 600 < 0.9
    assert counts.min() > 0.5 * counts.mean()
    assert 0.4 < np.mean([example.inverted for example in chests]) < 0.6
    again = make_example(whole_SS, np.random.default_rng([1, 7]))
    assert np.array_equal(again.picture_SS, examples[7].picture_SS)


def test_a_cut_is_never_too_small_to_be_seen() -> None:
    cuts = np.array([draw_cut(np.random.default_rng(seed)) for seed in range(200)])
    assert ((cuts == 0) | (cuts >= 0.08)).all()
    assert (cuts > 0).any(1).all()


@pytest.mark.parametrize("seed", range(20))
def test_pictures_of_no_chest_are_pictures(seed: int) -> None:
    whole_SS = cv2.resize(pictures(1)[0], (128, 128)).astype(np.uint8)
    other_SS = no_chest(whole_SS, np.random.default_rng(seed))
    assert other_SS.shape == (128, 128)
    assert other_SS.dtype == np.uint8
    assert other_SS.std() > 1
    assert not np.array_equal(other_SS, whole_SS)


def test_cut_off_takes_the_side_that_it_names() -> None:
    rows_SS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, 1)
    assert cut_off(rows_SS, 0, 0.25).min() >= 63
    assert cut_off(rows_SS, 2, 0.25).max() <= 192
    assert cut_off(rows_SS.T.copy(), 3, 0.25).min() >= 63
    assert cut_off(rows_SS.T.copy(), 1, 0.25).max() <= 192


def test_the_gaussian_whitens() -> None:
    rng = np.random.default_rng(0)
    features_ND = rng.normal(size=(5000, 3)) @ np.array([[1, 0, 0], [0.5, 1, 0], [0, 0.5, 1]]) + 5
    mean_D, whitening_DD = gaussian(features_ND)
    assert np.allclose(whitening_DD, np.tril(whitening_DD))
    assert np.allclose(np.cov((features_ND - mean_D) @ whitening_DD.T, rowvar=False), np.eye(3), atol=0.05)


def test_a_patient_is_measured_without_the_own_films() -> None:
    features_ND = np.random.default_rng(0).normal(size=(60, 2))
    features_ND[:20] += 30
    apart = held_out_distances(features_ND, ["same"] * 20 + [str(row) for row in range(40)])
    mixed = held_out_distances(features_ND, [str(row) for row in range(60)])
    assert apart[:20].min() > 5 * mixed[:20].max()


def test_a_fit_of_a_few_steps_exports_and_builds(tmp_path: Path) -> None:
    settings = FilmCheckConfig(steps=3, batch=4)
    views = ["PA", None, "lateral", "AP", "PA"]
    network = fit(pictures(5), views, settings)
    again = fit(pictures(5), views, settings)
    films = Films(pictures_NSS=pictures(24), data="24 pictures", measured_on="radiographs")
    section = build_section(network, tmp_path, trained_on="pictures", views=(), reference=films, test=films)
    model = (tmp_path / section.file).read_bytes()
    assert section.measured[0].films == 24
    assert {row.kind for row in section.measured} >= {"upright", "turned by 90°", "inverted", "mirrored"}
    picture_SS = pictures(1)[0]
    answers = ServedNetwork(model, features=FEATURES).look(picture_SS)
    assert answers.turn_8.sum() == pytest.approx(1, abs=1e-5)
    other = ServedNetwork(export(again, tmp_path).read_bytes(), features=FEATURES).look(picture_SS)
    assert np.array_equal(answers.features_D, other.features_D)


def test_the_demo_meets_its_targets_on_unused_phantoms() -> None:
    section = load_bundle(DEMO).contract.film_check
    assert section is not None
    rows = {(row.kind, row.answer): row.count / row.films for row in section.measured}
    for kind in ("turned by 90°", "turned by 180°", "turned by 270°", "inverted"):
        assert rows[kind, "refused"] >= 0.999
    assert rows["mirrored", "mirrored"] >= 0.99
    assert rows["upright", "refused"] <= 0.005
    assert rows["upright", "cut-off"] <= 0.01
    assert section.measured_on == "phantoms"
    general = next(reference for reference in section.references if not reference.own)
    assert (general.films, general.measured_on, general.refuses) == (217, "radiographs", False)
    assert general.attribution


def test_the_demo_looks_at_noise_as_at_no_chest() -> None:
    bundle = load_bundle(DEMO)
    assert bundle.contract.film_check is not None
    assert bundle.film_check_model is not None
    looker = Looker(bundle.contract.film_check, bundle.film_check_model)
    smooth_SS = pictures(3)[2]
    assert max(looker.look(smooth_SS).likeness.values()) <= 0.01
