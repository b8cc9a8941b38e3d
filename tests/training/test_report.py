"""The report says what is so: its figures against independent computations, and a page that stands alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve  # type: ignore[import-untyped]
from typer.testing import CliRunner, Result

from cxrserve.bundle.contract import read_contract
from cxrserve.cli.main import app
from cxrserve.findings import NAMES
from cxrserve.reports.ranking import auc_interval, difference_interval, placements
from tests.bundles import write_tiny_bundle
from training.cache import PyramidCache
from training.datasets import read_dataset
from training.datasets.labels import co_occurrence
from training.datasets.make_splits import random_split
from training.datasets.patients import patients_of_split, read_patients, write_patients
from training.datasets.split import write_split
from training.networks.onnx_graph import GraphNetwork
from training.networks.receptive_field import theoretical_field
from training.phantom.files import write_phantoms
from training.report.comparison_tables import mean_over, shared_findings, variants_table
from training.report.evaluate_bundle import HTML, JSON, ReportContents, evaluate_bundle, write_comparison
from training.report.evaluation import evaluate_scores, fold_table
from training.report.facts import FitFacts, People, RunFacts, curves_of, fits_of
from training.report.measures import average_precision, calibration, roc
from training.report.pooled import Pooled
from training.report.scores import STACK, Scores, score_bundle
from training.report.tables import auc_table
from training.stamp import Stamp, write_stamp

SIZES = (64, 128)
COUNT = 24


def drawn(seed: int, count: int = 120, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positive_N = random.random(count) < 0.3
    return np.round(random.normal(0, 1, count) + shift * positive_N, 1), positive_N


@pytest.mark.parametrize("seed", range(3))
def test_auc_roc_and_precision_are_scikit_learns(seed: int) -> None:
    scores_N, positive_N = drawn(seed)
    parts = placements(scores_N, positive_N)
    assert parts is not None
    assert parts.auc == pytest.approx(roc_auc_score(positive_N, scores_N))
    assert average_precision(scores_N, positive_N) == pytest.approx(
        average_precision_score(positive_N, scores_N)
    )
    curve = roc(scores_N, positive_N)
    x, y, _ = roc_curve(positive_N, scores_N, drop_intermediate=False)
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)


def test_delongs_variance_is_that_of_all_pairs() -> None:
    """Against DeLong's own formula over every pair of images, and against a bootstrap."""
    scores_N, positive_N = drawn(7, 200)
    present, absent = scores_N[positive_N], scores_N[~positive_N]
    pairs = (present[:, None] > absent) + 0.5 * (present[:, None] == absent)
    parts = placements(scores_N, positive_N)
    assert parts is not None
    np.testing.assert_allclose(parts.present_P, pairs.mean(1))
    np.testing.assert_allclose(parts.absent_Q, pairs.mean(0))
    interval = auc_interval(parts)
    assert interval.low is not None
    assert interval.high is not None
    random = np.random.default_rng(0)
    drawn_again = []
    for _ in range(1500):
        rows, columns = (
            random.integers(0, len(present), len(present)),
            random.integers(0, len(absent), len(absent)),
        )
        drawn_again.append(pairs[np.ix_(rows, columns)].mean())
    low, high = np.percentile(drawn_again, [2.5, 97.5])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.015)


def test_paired_curves_of_the_same_scores_do_not_differ() -> None:
    scores_N, positive_N = drawn(2)
    first, second = placements(scores_N, positive_N), placements(2 * scores_N + 1, positive_N)
    assert first is not None
    assert second is not None
    assert difference_interval(first, second).value == 0
    worse = placements(np.random.default_rng(0).permutation(scores_N), positive_N)
    assert worse is not None
    found = difference_interval(first, worse)
    assert found.low is not None
    assert found.low > 0


def test_a_perfect_ranking_has_no_interval_and_one_class_no_auc() -> None:
    labels = np.array([False, False, True, True])
    parts = placements(np.arange(4.0), labels)
    assert parts is not None
    assert (auc_interval(parts).value, auc_interval(parts).low) == (1.0, None)
    assert placements(np.arange(4.0), np.ones(4, bool)) is None


def test_calibration_counts_what_is_off() -> None:
    found = calibration(np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, False, True, False]))
    assert found.count_B == (2, 2)
    assert found.frequency_B == (0.0, 0.5)
    assert found.ece == pytest.approx(0.5 * 0.05 + 0.5 * 0.45)
    assert found.brier == pytest.approx((2 * 0.05**2 + 0.05**2 + 0.95**2) / 4)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("report") / "tiny", SIZES)


@pytest.fixture(scope="module")
def samples() -> PyramidCache:
    random = np.random.default_rng(1)
    labels = (random.random((COUNT, len(NAMES))) < 0.4).astype(np.float32)
    labels[3, 2] = np.nan
    places = np.zeros((COUNT, len(NAMES), 64, 64), np.uint8)
    places[:, :, 20:30, 20:30] = 1
    return PyramidCache(
        levels={size: random.integers(0, 256, (COUNT, size, size), np.uint8) for size in SIZES},
        labels_NF=labels,
        locations_NFGG=places,
        study_N=np.arange(COUNT) // 2,
    )


@pytest.fixture(scope="module")
def report(bundle: Path, samples: PyramidCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    (out / "fit.csv").write_text("epoch,train_loss,val_loss\n0,1.0,\n1,0.5,0.7\n", encoding="utf-8")
    scores = score_bundle(bundle, samples, "noise")
    people = People(
        view_N=np.array(["PA", "AP"] * (COUNT // 2)),
        sex_N=np.array(["F", "M", "unknown", "F"] * (COUNT // 4)),
        age_N=np.linspace(20, 90, COUNT),
    )
    evaluate_bundle(
        bundle,
        samples,
        out,
        data="noise <of> nobody",
        folds=(scores, scores.subset(np.arange(COUNT) < 20)),
        run=RunFacts(
            curves={"64": out / "fit.csv"},
            fits=(FitFacts(size=64, device="2 cores", memory_bytes=2**31, images_per_s=9.5, seconds=7300),),
            shapes=[(3056, 2544)] * 9 + [(64, 64)],
            people=people,
        ),
        contents=ReportContents(field_images=2, cam_findings=("Fracture",), cam_examples=1),
    )
    return out


class Outside(HTMLParser):
    """Collects whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset") and not (value or "").startswith(
                ("#", "data:")
            ):
                self.found.append(f"{tag} {name}={value}")
        assert tag != "script"


def test_the_page_stands_alone_and_escapes(report: Path) -> None:
    page = (report / HTML).read_text(encoding="utf-8")
    outside = Outside()
    outside.feed(page)
    assert outside.found == []
    assert not re.search(r"url\((?!#)|@import", page)
    assert "noise &lt;of&gt; nobody" in page
    assert "<of>" not in page
    for drawing in ("Reliability diagrams", "Decision curves"):
        assert f'aria-label="{drawing} of each finding"' in page
    for anchor in (
        "ranking",
        "scales",
        "curves",
        "decisions",
        "cams",
        "fields",
        "groups",
        "data",
        "cost",
        "fits",
    ):
        assert f'<section id="{anchor}">' in page
    assert "var(--ink)" in page


def test_images_of_one_class_alone_are_reported_too(
    bundle: Path, samples: PyramidCache, tmp_path: Path
) -> None:
    """Of a small test part all images may be alike: there is nothing to rank, and no reason to stop."""
    alike = replace(samples, labels_NF=np.ones_like(samples.labels_NF))
    contents = ReportContents(field_images=0, cam_findings=(), footprints=False)
    evaluation = evaluate_bundle(bundle, alike, tmp_path, data="alike", contents=contents)
    assert not any(finding.auc for finding in evaluation.findings)
    page = (tmp_path / HTML).read_text(encoding="utf-8")
    assert page.count("No finding has images both with it and without it.") == 2


def test_the_json_holds_the_numbers_of_the_page(report: Path) -> None:
    content = json.loads((report / JSON).read_text(encoding="utf-8"))
    assert content["count"] == COUNT
    assert [finding["name"] for finding in content["findings"]] == list(NAMES)
    first = content["findings"][0]
    assert set(first["auc"]) == {"64", "128", "voting", STACK}
    assert first["folds"]["64"]["count"] == 2
    assert f"{first['folds']['64']['mean']:.3f}" in (report / HTML).read_text(encoding="utf-8")
    assert {group["by"] for group in content["groups"]} == {"view", "sex", "age"}
    assert content["fields"]["64"]["theoretical"] is not None
    assert content["image_sizes"] == {"2544×3056": 9, "64×64": 1}
    assert content["footprints"]["64"]["run_ms"] > 0


def test_the_path_that_serves_gives_the_auc(bundle: Path, samples: PyramidCache) -> None:
    scores = score_bundle(bundle, samples, "noise")
    evaluation = evaluate_scores(scores)
    contract, _ = read_contract(bundle)
    index = NAMES.index("Edema")
    weights = np.array(contract.stack[index])
    stacked = (1 / (1 + np.exp(-scores.logits_NFS[:, index])) * weights).sum(1)
    expected = roc_auc_score(samples.labels_NF[:, index], stacked)
    assert evaluation.findings[index].auc[STACK].value == pytest.approx(expected)
    masked = evaluation.findings[2]
    assert masked.positives + masked.negatives == COUNT - 1


def test_studies_are_judged_by_the_bundles_rule(bundle: Path, samples: PyramidCache) -> None:
    scores = score_bundle(bundle, samples, "noise")
    studies = scores.by_study()
    assert len(studies) == COUNT // 2
    single, whole = scores.probabilities(0)[STACK], studies.probabilities(0)[STACK]
    np.testing.assert_allclose(whole, single.reshape(-1, 2).max(1))
    assert studies.labels_NF[1, 2] == samples.labels_NF[2, 2]  # the other image's label is unknown


def test_the_field_of_the_file_is_that_of_the_network(tmp_path: Path) -> None:
    import torch

    from training.networks.base import SmallNetwork
    from training.networks.export import folded, to_onnx

    torch.manual_seed(0)
    network = folded(SmallNetwork(64))
    to_onnx(network, 64, tmp_path / "small.onnx")
    graph = GraphNetwork((tmp_path / "small.onnx").read_bytes())
    assert graph.theoretical_field() == theoretical_field(network.body)
    image = torch.randint(0, 256, (1, 1, 64, 64)).float()
    with torch.inference_mode():
        torch.testing.assert_close(graph.features(image), network.features(image), rtol=1e-4, atol=1e-4)


def test_several_bundles_stand_side_by_side(bundle: Path, samples: PyramidCache, tmp_path: Path) -> None:
    def scored(seed: int) -> Scores:
        return score_bundle(write_tiny_bundle(tmp_path / str(seed), SIZES, seed=seed), samples, "noise")

    repeats = {"one": {64: [0.5, 0.6], 128: [0.7, 0.8]}, "other": {64: [0.4, 0.5], 128: [0.6, 0.65]}}
    evaluations = [evaluate_scores(scored(seed)) for seed in (0, 1)]
    write_comparison(evaluations, tmp_path, RunFacts(repeats=repeats))
    page = (tmp_path / HTML).read_text(encoding="utf-8")
    assert "2 bundles compared" in page
    assert "standard deviations over folds or seeds" in page
    assert len(json.loads((tmp_path / JSON).read_text(encoding="utf-8"))["bundles"]) == 2


def test_the_fits_of_a_run_are_found_as_it_writes_them(tmp_path: Path) -> None:
    stamps = {}
    for name, rate in (("fit_128", 4.0), ("fit_64", 9.0), ("fit_64-0a1b2c3d", 99.0)):
        folder = tmp_path / "fold_1" / "seed_0" / name
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("epoch,image_loss\n0,0.5\n", encoding="utf-8")
        summary = {"device": "2 threads", "memory_bytes": 5, "images_per_second": rate, "seconds": 7.5}
        stamps[name] = write_stamp(
            folder / "stamp.json", Stamp(step=name, inputs={"rate": rate}, summary=summary)
        )
    assert [(fit.size, fit.images_per_s, fit.memory_bytes) for fit in fits_of(tmp_path)] == [
        (64, 9.0, 5),
        (128, 4.0, 5),
    ]
    # A bundle's own fits, where another setting left others.
    steps = {"fit 128": stamps["fit_128"].sha256, "fit 64": stamps["fit_64-0a1b2c3d"].sha256}
    assert list(curves_of(tmp_path, steps)) == ["64", "128"]
    assert [fit.images_per_s for fit in fits_of(tmp_path, steps)] == [99.0, 4.0]


def test_co_occurrence_is_in_percent(samples: PyramidCache, report: Path) -> None:
    content = json.loads((report / JSON).read_text(encoding="utf-8"))
    matrix = co_occurrence(samples.labels_NF).matrix_FF
    assert content["co_occurrence"]["Edema"]["Fracture"] == pytest.approx(
        matrix[NAMES.index("Edema"), NAMES.index("Fracture")], abs=1e-5
    )


def test_the_command_judges_files_and_lists_what_it_cannot_read(bundle: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "films", 6, 50, "jpeg")
    broken = sorted((tmp_path / "films").rglob("*.jpg"))[0]
    broken.write_bytes(b"no film")
    result = CliRunner().invoke(
        app,
        [
            *("evaluate", str(bundle), "--data", f"phantoms:{tmp_path / 'films'}"),
            *("--out", str(tmp_path / "out"), "--field-images", "0", "--cams", ""),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "left out" in result.output
    assert json.loads((tmp_path / "out" / JSON).read_text(encoding="utf-8"))["count"] == 5
    refused = CliRunner().invoke(
        app, ["evaluate", str(bundle), "--data", f"phantoms:{tmp_path / 'films'}", "--split", "test"]
    )
    assert refused.exit_code == 2


def with_flips(scores: Scores, flips: dict[int, int], seed: int) -> Scores:
    """20 images, half with Atelectasis; each size ranks them right except so many, which are turned round."""
    labels = np.full((20, len(NAMES)), np.nan, np.float32)
    labels[:, 0] = np.arange(20) % 2
    logits = np.zeros((20, len(NAMES), len(SIZES)))
    for scale, size in enumerate(SIZES):
        wrong = np.random.default_rng(seed).permutation(20)[: flips[size]]
        logits[:, 0, scale] = np.where(np.isin(np.arange(20), wrong), 1 - labels[:, 0], labels[:, 0])
    noise = np.random.default_rng(seed + 1).normal(size=logits.shape) * 1e-3
    return replace(scores, logits_NFS=logits + noise, labels_NF=labels, study_N=np.arange(20))


def test_bold_gain_and_cards_are_over_the_folds(bundle: Path, samples: PyramidCache) -> None:
    """The best scale of the first fold is not the best over both."""
    scores = score_bundle(bundle, samples, "noise")
    one, other = with_flips(scores, {64: 4, 128: 3}, 0), with_flips(scores, {64: 0, 128: 8}, 1)
    tables = [fold_table(fold)[NAMES[0]] for fold in (one, other)]
    assert tables[0]["128"] > tables[0]["64"]
    mean = {column: (tables[0][column] + tables[1][column]) / 2 for column in tables[0]}
    assert mean["64"] > mean["128"]
    evaluation = evaluate_scores(one, (one, other), pooled=Pooled(folds=(one, other)))
    result = evaluation.findings[0]
    assert result.best == "64"
    assert result.over_best is not None
    assert result.over_best.value == pytest.approx(mean[STACK] - mean["64"])
    assert evaluation.wins == {"64": 1, "128": 0}
    assert evaluation.shown_means[STACK] == pytest.approx(mean[STACK])
    assert evaluation.means[STACK] == pytest.approx(tables[0][STACK])
    assert (evaluation.count, result.positives, result.negatives) == (40, 20, 20)
    assert f"<b>{mean['64']:.3f}</b>" in auc_table(evaluation).html
    alone = evaluate_scores(one)
    assert alone.findings[0].best == "128"


def test_weights_are_over_the_folds(bundle: Path, samples: PyramidCache) -> None:
    scores = score_bundle(bundle, samples, "noise")
    stack = tuple((1.0, 0.0) for _ in NAMES)
    other = replace(scores, contract=scores.contract.model_copy(update={"stack": stack}))
    weight = scores.contract.stack[0][0]
    evaluation = evaluate_scores(scores, (scores, other))
    assert evaluation.weights[NAMES[0]]["64"] == pytest.approx((weight + 1) / 2)


def test_bundles_are_compared_over_the_same_findings(bundle: Path, samples: PyramidCache) -> None:
    """One knows a single easy finding; its mean must not stand beside a mean over all."""
    scores = score_bundle(bundle, samples, "noise")
    labels = np.full_like(scores.labels_NF, np.nan)
    labels[:, 0] = scores.logits_NFS[:, 0].mean(1) > np.median(scores.logits_NFS[:, 0].mean(1))
    some = labels.copy()
    some[:, 1] = np.arange(len(labels)) % 2
    one = evaluate_scores(replace(scores, labels_NF=labels))
    other = evaluate_scores(replace(scores, labels_NF=some))
    assert shared_findings([one, other]) == (NAMES[0],)
    assert mean_over(one, (NAMES[0],)) == mean_over(other, (NAMES[0],))
    assert one.means[STACK] != other.means[STACK]
    # Both are as good, and both are bold.
    figure = f"<b>{100 * one.findings[0].auc[STACK].value:.2f}</b>"
    assert variants_table([one, other]).html.count(figure) == 2


def test_patients_who_trained_a_bundle_do_not_measure_it(tmp_path: Path) -> None:
    """By default they are left out; asked for, they are refused, or said."""
    write_phantoms(tmp_path / "images", 6, 50, "jpeg")
    manifest = read_dataset(f"phantoms:{tmp_path / 'images'}")
    split = random_split(manifest, 0, validation_share=0.2, test_share=0.5)
    bundle = write_tiny_bundle(tmp_path / "bundle", SIZES)
    write_patients(patients_of_split([manifest], [split], "salt"), bundle)
    assert read_patients(bundle) == patients_of_split([manifest], [split], "salt")
    assert manifest.samples[0].patient_id not in (bundle / "patients.json").read_text(encoding="utf-8")
    write_split(split, tmp_path / "split.json")

    def evaluate(*more: str) -> tuple[Result, int]:
        options = ["--data", f"phantoms:{tmp_path / 'images'}", "--out", str(tmp_path / "out")]
        command = ["evaluate", str(bundle), *options, "--field-images", "0", "--cams", "", *more]
        result = CliRunner().invoke(app, command)
        page = tmp_path / "out" / JSON
        return result, json.loads(page.read_text(encoding="utf-8"))["count"] if page.exists() else 0

    refused, _ = evaluate("--split", "all")
    assert refused.exit_code == 2
    assert "3 of 6 patients of these images trained or validated" in " ".join(
        refused.output.replace("│", " ").split()
    )
    own, count = evaluate()
    assert (own.exit_code, count) == (0, len(split.test)), own.output
    assert "left out: 3 images of 3 patients" in own.output
    _, count = evaluate("--split", "all", "--allow-overlap")
    assert count == 6
    # A split of a manifest that another recipe filtered, or of which one image could not be decoded.
    (tmp_path / "images" / manifest.samples[0].path).unlink()
    kept, count = evaluate("--split-file", str(tmp_path / "split.json"), "--read", "max_bad_share=0.5")
    assert kept.exit_code == 0, kept.output
    assert count == len(set(split.test) - {manifest.samples[0].image_id})


def test_a_killed_evaluation_continues_where_it_was(
    bundle: Path, samples: PyramidCache, tmp_path: Path
) -> None:
    whole = score_bundle(bundle, samples, "noise")

    class Killed(Exception):
        pass

    def track(steps: Iterable[int], what: str, total: int) -> Iterator[int]:
        for number, step in enumerate(steps):
            if number == 10:
                raise Killed
            yield step

    with pytest.raises(Killed):
        score_bundle(bundle, samples, "noise", track=track, partial=tmp_path)
    scored: list[int] = []

    def count(steps: Iterable[int], what: str, total: int) -> Iterator[int]:
        for step in steps:
            scored.append(step)
            yield step

    again = score_bundle(bundle, samples, "noise", track=count, partial=tmp_path)
    assert scored == list(range(10, COUNT))
    np.testing.assert_array_equal(again.logits_NFS, whole.logits_NFS)
