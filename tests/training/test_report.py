"""The report says what is so: its figures against independent computations, and a page that stands alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve  # type: ignore[import-untyped]
from typer.testing import CliRunner

from cxrserve.cli import app
from cxrserve.ensemble.bundle import read_contract
from cxrserve.findings import NAMES
from tests.bundles import write_tiny_bundle
from training.cache import PyramidCache
from training.labels import co_occurrence
from training.phantom.files import write_phantoms
from training.receptive_field import theoretical_field
from training.report.evaluate_bundle import HTML, JSON, Wanted, evaluate_bundle, write_comparison
from training.report.evaluation import evaluate_scores
from training.report.facts import FitFacts, People, RunFacts, curves_of, fits_of
from training.report.graph import GraphNetwork
from training.report.measures import (
    auc_interval,
    average_precision,
    calibration,
    difference_interval,
    placements,
    roc,
)
from training.report.scores import STACK, Scores, score_bundle

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
        places_NFGG=places,
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
        wanted=Wanted(field_images=2, cam_findings=("Fracture",), cam_examples=1),
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

    from training.export import folded, to_onnx
    from training.networks import SmallNetwork

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
    assert "standard deviations over seeds" in page
    assert len(json.loads((tmp_path / JSON).read_text(encoding="utf-8"))["bundles"]) == 2


def test_what_a_run_wrote_down_of_its_fits(tmp_path: Path) -> None:
    for size, rate in ((128, 4.0), (64, 9.0)):
        folder = tmp_path / "fold_0" / "fit" / str(size)
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(
            f"epoch,phase,image_loss,images_per_second,seconds\n0,crops,,99,1.0\n1,images,0.5,{rate},7.5\n",
            encoding="utf-8",
        )
    assert list(curves_of(tmp_path)) == ["64", "128"]
    assert [(fit.size, fit.images_per_s, fit.seconds) for fit in fits_of(tmp_path)] == [
        (64, 9.0, 7.5),
        (128, 4.0, 7.5),
    ]


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
