"""The papers' claims beside the figures, and the pictures that the papers show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cxrserve.bundle.contract import read_contract
from cxrserve.findings import NAMES
from tests.bundles import write_tiny_bundle
from training.cache import PyramidCache
from training.report.claims import Claim, claims_of, claims_table
from training.report.evaluation import Evaluation, FieldResult, evaluate_scores
from training.report.figures_pictures import levels_figure, outputs_figure
from training.report.outputs import COUNT, choose_outputs, levels_of
from training.report.scores import STACK, Scores

SIZES = (64, 128)
IMAGES = 400
Make = Callable[..., Scores]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("claims") / "tiny", SIZES)
    contract, sha256 = read_contract(bundle)

    def scores(better: dict[str, int], weights: dict[str, int]) -> Scores:
        """Every finding is told apart better at one of the scales, and weighs more on one."""
        random = np.random.default_rng(0)
        labels = (random.random((IMAGES, len(NAMES))) < 0.4).astype(np.float32)
        logits = np.zeros((IMAGES, len(NAMES), 2))
        stack = []
        for index, name in enumerate(NAMES):
            for scale, size in enumerate(SIZES):
                strength = 2.0 if better[name] == size else 0.7
                logits[:, index, scale] = strength * labels[:, index] + random.normal(0, 1, IMAGES)
            heavy = SIZES.index(weights[name])
            stack.append((0.7, 0.3) if heavy == 0 else (0.3, 0.7))
        return Scores(
            contract=contract.model_copy(update={"stack": tuple(stack)}),
            sha256=sha256,
            data="drawn numbers",
            engine="none",
            logits_NFS=logits,
            labels_NF=labels,
            study_N=np.arange(IMAGES),
            engine_ms={64: 1.0, 128: 2.0},
        )

    return scores


def claim(evaluation: Evaluation, words: str) -> Claim:
    (one,) = [claim for claim in claims_of(evaluation) if words in claim.claim]
    return one


def as_in_the_paper() -> dict[str, int]:
    """Cardiomegaly is seen best on small images, all other findings on large ones."""
    return {name: 64 if name == "Cardiomegaly" else 128 for name in NAMES}


def test_figures_as_the_paper_has_them_support_its_claims(make: Make) -> None:
    evaluation = evaluate_scores(make(as_in_the_paper(), as_in_the_paper()))
    for words in (
        "Every scale is the best",
        "AUC of Cardiomegaly falls",
        "AUC of Pneumothorax rises",
        "ten of fourteen",
        "Atelectasis has its largest weight",
        "largest images have the highest",
    ):
        assert claim(evaluation, words).holds is True, words
    assert claim(evaluation, "Every scale").here == "best of 14 findings: 64 px for 1, 128 px for 13"
    assert "70.0 %" in claim(evaluation, "Atelectasis").here


def test_figures_of_another_kind_contradict_them(make: Make) -> None:
    turned = {name: 64 if size == 128 else 128 for name, size in as_in_the_paper().items()}
    evaluation = evaluate_scores(make(turned, as_in_the_paper()))
    for words in (
        "AUC of Cardiomegaly falls",
        "AUC of Pneumothorax rises",
        "ten of fourteen",
        "Atelectasis has its largest weight",
        "largest images have the highest",
    ):
        assert claim(evaluation, words).holds is False, words
    one = dict.fromkeys(NAMES, 128)
    assert claim(evaluate_scores(make(one, one)), "Every scale").holds is False
    assert ">no<" in claims_table(claims_of(evaluation)).html


def test_the_stack_must_win_every_finding_by_the_papers_margin(make: Make) -> None:
    scores = make(as_in_the_paper(), as_in_the_paper())
    evaluation = evaluate_scores(scores)
    gains = [result.over_best.value for result in evaluation.findings if result.over_best]
    assert claim(evaluation, "highest AUC of every").holds is (min(gains) > 0)
    assert claim(evaluation, "at least 0.4 %").holds is (min(gains) >= 0.004)
    # A stack of the worse scale alone loses.
    stack = tuple((0.0, 1.0) if name == "Cardiomegaly" else (1.0, 0.0) for name in NAMES)
    worse = replace(scores, contract=scores.contract.model_copy(update={"stack": stack}))
    lost = evaluate_scores(worse)
    assert claim(lost, "highest AUC of every").holds is False
    assert "above every single scale for 0 of 14" in claim(lost, "highest AUC of every").here
    assert claim(lost, "1.1 %").holds is False


def test_a_claim_that_the_figures_cannot_tell_is_left_open(make: Make) -> None:
    scores = make(as_in_the_paper(), as_in_the_paper())
    labels = scores.labels_NF.copy()
    labels[:, NAMES.index("Pneumothorax")] = np.nan
    evaluation = evaluate_scores(replace(scores, labels_NF=labels))
    assert claim(evaluation, "Pneumothorax").holds is None
    assert not [claim for claim in claims_of(evaluation) if "receptive field" in claim.claim]
    fields = {
        size: FieldResult(theoretical=100, radius_50=radius, radius_95=0.5, images=2)
        for size, radius in (("64", 0.3), ("128", 0.2))
    }
    assert claim(replace(evaluation, fields=fields), "receptive field").holds is True


def test_claims_are_compared_with_the_folds(make: Make) -> None:
    """The first fold alone would say that Cardiomegaly falls; over the folds it rises."""
    falls = as_in_the_paper()
    rises = {**falls, "Cardiomegaly": 128}
    first, others = make(falls, falls), make(rises, rises)
    assert claim(evaluate_scores(first), "Cardiomegaly").holds is True
    evaluation = evaluate_scores(first, (first, others, others))
    assert claim(evaluation, "Cardiomegaly").holds is False
    assert claim(evaluation, "standard deviation over seeds").holds is not None


def test_some_images_are_shown_with_labels_and_answers(make: Make) -> None:
    scores = make(as_in_the_paper(), as_in_the_paper())
    random = np.random.default_rng(3)
    samples = PyramidCache(
        levels={size: random.integers(0, 256, (IMAGES, size, size), np.uint8) for size in SIZES},
        labels_NF=scores.labels_NF,
    )
    outputs = choose_outputs(scores, samples)
    assert len(outputs) == COUNT
    for output in outputs:
        (row,) = [row for row in range(IMAGES) if (samples.level(128)[row] == output.radiograph).all()]
        present = {name for index, name in enumerate(NAMES) if scores.labels_NF[row, index] > 0.5}
        assert set(output.labels) == present
        assert present == (set(output.called) & present) | set(output.missed)
        for index, name in enumerate(NAMES):
            assert (name in output.called) == bool(scores.decided(index)[row])
            if name in output.called:
                assert output.called[name] == pytest.approx(scores.probabilities(index)[STACK][row])
    levels = levels_of(scores, samples)
    assert [len(level) for level in levels.values()] == [64, 128]
    assert len(levels_figure(levels).axes) == 2
    for axes, output in zip(outputs_figure(outputs).axes, outputs, strict=True):
        lines = axes.get_xlabel().splitlines()
        assert {line.split(" ", 1)[1].rpartition(" ")[0] for line in lines if line[0] in "✓−"} == set(
            output.labels
        )
