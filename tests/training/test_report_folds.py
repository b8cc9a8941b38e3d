"""Figures over folds and patients: intervals, means over the same findings, runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrserve.bundle.contract import read_contract
from cxrserve.findings import NAMES
from cxrserve.reports.ranking import auc_interval, difference_interval, placements
from tests.bundles import write_tiny_bundle
from training.report.averages import fold_means
from training.report.comparison_tables import folds_by_finding_table, folds_table
from training.report.evaluate_bundle import HTML, JSON, write_comparison
from training.report.evaluation import accuracy_table, evaluate_scores
from training.report.facts import People
from training.report.measures import means
from training.report.own_folds import read_own_folds, repeats_of, same_split, shared_by_folds
from training.report.pooled import Pooled
from training.report.scores import STACK, Scores

SIZES = (64, 128)


def drawn_patients(seed: int, patients: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and patients of one to six images each; images of a patient resemble each other."""
    random = np.random.default_rng(seed)
    cluster_N = np.repeat(np.arange(patients), random.integers(1, 7, patients))
    own = random.normal(0, 1, patients)[cluster_N]
    ill = (random.random(patients) < 0.5)[cluster_N]
    positive_N = ill ^ (random.random(len(cluster_N)) < 0.1)
    return own + positive_N + random.normal(0, 0.4, len(cluster_N)), positive_N, cluster_N


def test_the_same_images_twice_in_one_patient_are_no_more_evidence() -> None:
    scores_N, positive_N, _ = drawn_patients(1)
    once = placements(scores_N, positive_N)
    twice_N = np.repeat(np.arange(len(scores_N)), 2)
    twice = placements(scores_N[twice_N], positive_N[twice_N], twice_N)
    alone = placements(scores_N[twice_N], positive_N[twice_N])
    assert once
    assert twice
    assert alone
    first, second, narrow = auc_interval(once), auc_interval(twice), auc_interval(alone)
    assert (second.value, second.low, second.high) == pytest.approx((first.value, first.low, first.high))
    assert narrow.low is not None
    assert first.low is not None
    assert narrow.low > first.low


def test_intervals_by_patient_are_those_of_a_bootstrap_of_patients() -> None:
    scores_N, positive_N, cluster_N = drawn_patients(3, 120)
    other_N = scores_N + np.random.default_rng(5).normal(0, 1, len(scores_N))
    parts, others = (placements(values, positive_N, cluster_N) for values in (scores_N, other_N))
    assert parts
    assert others
    rows_of = [np.flatnonzero(cluster_N == patient) for patient in range(120)]
    random = np.random.default_rng(0)
    drawn, differences = [], []
    for _ in range(400):
        rows = np.concatenate([rows_of[patient] for patient in random.integers(0, 120, 120)])
        again, other = (placements(values[rows], positive_N[rows]) for values in (scores_N, other_N))
        assert again
        assert other
        drawn.append(again.auc)
        differences.append(again.auc - other.auc)
    interval, difference = auc_interval(parts), difference_interval(parts, others)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.02)
    ends = tuple(np.percentile(differences, [2.5, 97.5]))
    assert (difference.low, difference.high) == pytest.approx(ends, abs=0.02)
    independent = placements(scores_N, positive_N)
    assert independent
    width = auc_interval(independent)
    assert width.high is not None
    assert width.low is not None
    assert interval.high is not None
    assert interval.low is not None
    assert interval.high - interval.low > 1.15 * (width.high - width.low)


def test_means_are_over_the_same_findings() -> None:
    table: dict[str, dict[str, float | None]] = {
        "Edema": {"256": 0.9, "stack": None},
        "Fracture": {"256": 0.5, "stack": 0.75},
    }
    assert means(table) == {"256": 0.5, "stack": 0.75}
    # The second fold has no Edema: the mean of neither fold may hold it.
    folds = [{"Edema": {"64": 0.9}, "Fracture": {"64": 0.5}}, {"Edema": {}, "Fracture": {"64": 0.7}}]
    spread = fold_means(folds, ["64"])["64"]
    assert spread.mean == pytest.approx(0.6)
    assert spread.count == 2


@pytest.fixture(scope="module")
def make_scores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Scores]:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("folds") / "tiny", SIZES)
    contract, sha256 = read_contract(bundle)

    def make(seed: int) -> Scores:
        """40 images of 20 patients; Atelectasis and Edema alone have labels."""
        random = np.random.default_rng(seed)
        labels = np.full((40, len(NAMES)), np.nan, np.float32)
        labels[:, 0] = np.arange(40) % 2
        labels[:, NAMES.index("Edema")] = np.arange(40) % 4 == 0
        logits = random.normal(0, 1, (40, len(NAMES), 2)) + 1.2 * np.nan_to_num(labels)[..., None]
        return Scores(
            contract=contract,
            sha256=sha256,
            data="drawn numbers",
            engine="none",
            logits_NFS=logits,
            labels_NF=labels,
            study_N=np.arange(40),
            engine_ms={64: 1.0, 128: 2.0},
            patient_N=np.arange(40) // 2,
        )

    return make


def test_accuracy_is_at_one_half(make_scores: Callable[[int], Scores]) -> None:
    scores = make_scores(0)
    probabilities_N = scores.probabilities(0)[STACK]
    expected = float(((probabilities_N >= 0.5) == (scores.labels_NF[:, 0] > 0.5)).mean())
    assert accuracy_table(scores)[NAMES[0]][STACK] == pytest.approx(expected)
    folds = [make_scores(seed) for seed in range(3)]
    evaluation = evaluate_scores(folds[0], folds, pooled=Pooled(folds=folds))
    own = [accuracy_table(fold) for fold in folds]
    mean = np.mean([(table["Atelectasis"]["64"] + table["Edema"]["64"]) / 2 for table in own])
    assert evaluation.accuracy_fold_means["64"].mean == pytest.approx(mean)
    assert "Fracture" not in [result.name for result in evaluation.findings if result.accuracy]


def test_groups_and_patients_are_of_all_folds(make_scores: Callable[[int], Scores]) -> None:
    folds = [make_scores(seed) for seed in range(3)]
    pooled = Pooled(folds=folds)
    assert len(np.unique(pooled.cluster_N)) == 60
    people = People(
        view_N=np.array(["PA"] * 70 + ["AP"] * 50),
        sex_N=np.array(["F"] * 120),
        age_N=np.full(120, 50.0),
    )
    evaluation = evaluate_scores(folds[0], folds, people, pooled)
    assert {group.group: group.images for group in evaluation.groups if group.by == "view"} == {
        "PA": 70,
        "AP": 50,
    }


def write_own_report(folder: Path, folds: list[Scores], network: str, split: str) -> Path:
    """A bundle's folder with the report of its own folds, as `train` leaves it."""
    evaluation = replace(evaluate_scores(folds[0], folds), architecture=network, bundle=network)
    folder.mkdir()
    content = {**evaluation.as_json(), "lineage": {"split_sha256": split}}
    (folder / JSON).write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_two_networks_stand_side_by_side_over_their_folds(
    make_scores: Callable[[int], Scores], tmp_path: Path
) -> None:
    """As Haque 2023 and Chizari's Figure 6 have it: means, bars and differences paired by fold."""
    folds = [[make_scores(10 * run + seed) for seed in range(3)] for run in range(2)]
    bundles = [
        write_own_report(tmp_path / name, scores, name, "a")
        for name, scores in zip(("densenet121", "efficientnet_b4"), folds, strict=True)
    ]
    runs = [own for bundle in bundles if (own := read_own_folds(bundle))]
    assert shared_by_folds(runs) == ["Atelectasis", "Edema"]
    assert same_split(runs)
    repeats = repeats_of(runs)
    assert list(repeats) == ["densenet121", "efficientnet_b4"]
    assert len(repeats["densenet121"][64]) == 3
    table = folds_by_finding_table(runs).html
    assert "efficientnet_b4 − densenet121" in table
    evaluations = [evaluate_scores(scores[0], scores) for scores in folds]
    expected = np.mean(
        [np.mean([fold[name]["64"] for name in runs[0].auc[0] if fold[name]]) for fold in runs[0].auc]
    )
    assert f"{100 * expected:.2f}" in folds_table(runs).html
    write_comparison(evaluations, tmp_path / "out", bundles=bundles)
    page = (tmp_path / "out" / HTML).read_text(encoding="utf-8")
    assert "paired by fold" in page
    assert "standard deviations over folds or seeds" in page
    # Other folds: nothing is paired.
    other = replace(runs[1], split="b")
    assert not same_split([runs[0], other])
    assert "− densenet121" not in folds_by_finding_table([runs[0], other]).html
    # A bundle without a report of its own is compared on the images alone.
    write_comparison(evaluations, tmp_path / "out", bundles=[bundles[0], tmp_path])
    assert "paired by fold" not in (tmp_path / "out" / HTML).read_text(encoding="utf-8")


def test_weights_have_a_deviation_over_the_folds(make_scores: Callable[[int], Scores]) -> None:
    scores = make_scores(0)
    stack = tuple((1.0, 0.0) for _ in NAMES)
    other = replace(scores, contract=scores.contract.model_copy(update={"stack": stack}))
    weight = scores.contract.stack[0][0]
    evaluation = evaluate_scores(scores, (scores, other))
    assert evaluation.weight_deviations[NAMES[0]]["64"] == pytest.approx(np.std([weight, 1.0], ddof=1))
    assert evaluate_scores(scores).weight_deviations == {}
