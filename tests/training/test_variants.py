"""Variants that `export` makes by itself: gated, delivered with the bundle, served by `auto`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cxrserve.bundle.contract import load_bundle, read_contract
from cxrserve.engines.openvino import computes_int8
from cxrserve.ensemble.predictor import Predictor
from cxrserve.settings import Settings
from tests.bundles import write_tiny_bundle
from tests.training.quiet import Quiet
from tests.training.test_steps_films import SETS, write_tree
from training.precision.gate import Limits
from training.precision.quantize.ensemble import Judged, admitted, ensemble_falls
from training.recipes.resolve import resolve
from training.steps import variants
from training.steps.deliver import network_files
from training.steps.run import Run
from training.steps.run_steps import COMMANDS, run_command

DEMO = Path(__file__).parents[2] / "models" / "demo"
# Whatever it costs or gains: networks that have learnt nothing, too small to become faster.
ANYTHING = Limits(probability=1.0, auc=1.0, finding_auc=1.0, maps=1e6, speed=0.0)
MORE_SETS = (*SETS, "preprocessing.sizes=64", "seeds=0")

pytestmark = pytest.mark.timeout(1800)


def in_batches(root: Path) -> Path:
    """The tree of one folder as AIMI ships it: a folder with the table, two with patients."""
    tables = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    tables.mkdir()
    (root / "train.csv").rename(tables / "train.csv")
    for number, patient in enumerate(sorted((root / "train").iterdir())):
        batch = root / f"CheXpert-v1.0 batch {number % 2 + 2} (train {number % 2 + 1})"
        batch.mkdir(exist_ok=True)
        patient.rename(batch / patient.name)
    (root / "train").rmdir()
    return root


def test_export_makes_variants_and_auto_serves_what_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "LIMITS", ANYTHING)
    run = Run(
        recipe=resolve("chizari", MORE_SETS),
        data=(f"chexpert:{in_batches(write_tree(tmp_path / 'data', 50_000))}",),
        out=tmp_path / "bundle",
        work=tmp_path / "work",
        folds=1,
        report="brief",
        variants=True,
    )
    progress = Quiet()
    for name in COMMANDS:
        run_command(name, run, progress)
    (member,) = read_contract(run.out)[0].members
    made = {variant.precision: variant.gate for variant in member.variants}
    assert set(made) == ({"int8", "fp16"} if computes_int8() else {"fp16"})
    assert all(gate.data.endswith("validation images") for gate in made.values())
    if computes_int8():
        assert made["int8"].speed
    else:
        assert "no variants in 8-bit integers: this CPU has no instructions for them" in progress.text
    assert "64 px: " in progress.text
    # Every file is delivered: hashes are compared on loading.
    load_bundle(run.out, ("int8",) if computes_int8() else ("fp16",))
    (precision,) = Predictor.open(Settings(bundle=run.out, threads=1)).precisions.values()
    assert precision == "int8" or not computes_int8()


def test_a_variant_that_harms_the_ensemble_is_removed(tmp_path: Path) -> None:
    """Each passes alone; together the ensemble would lose: the worse one goes, with its file."""
    generator = np.random.default_rng(0)
    labels_NF = generator.integers(0, 2, (200, 14)).astype(np.float32)
    exact = [(labels_NF + generator.normal(0, 0.7, labels_NF.shape)).astype(np.float32) for _ in range(2)]
    spoilt_NF = (exact[1] + generator.normal(0, 2, labels_NF.shape)).astype(np.float32)
    contract = read_contract(write_tiny_bundle(tmp_path, sizes=(64, 128)))[0]
    judged = []
    for member, exact_NF, served_NF, fall in zip(
        contract.members, exact, (exact[0], spoilt_NF), (0.0, 0.001), strict=True
    ):
        name = f"scale_{member.size}.int8.onnx"
        (tmp_path / name).write_bytes(b"a variant")
        gate = _gate(fall)
        variant = {"precision": "int8", "file": name, "sha256": "0" * 64, "gate": gate}
        varied = type(member).model_validate({**member.model_dump(), "variants": [variant]})
        judged.append(Judged(member=varied, exact_NF=exact_NF, served_NF=served_NF))
    weights_FS = np.full((14, 2), 0.5)
    before = float(np.mean(ensemble_falls(judged, weights_FS, labels_NF)))
    assert before > 0.001
    members, left = admitted(judged, weights_FS, labels_NF, Limits(), tmp_path, "200 images")
    assert [len(member.variants) for member in members] == [1, 0]
    assert members[1].refused["int8"].startswith("the ensemble's mean AUC falls by 0.")
    assert left == 0
    assert (tmp_path / "scale_64.int8.onnx").exists()
    assert not (tmp_path / "scale_128.int8.onnx").exists()
    wide = dataclasses.replace(Limits(), auc=1.0)
    assert [
        len(member.variants) for member in admitted(judged, weights_FS, labels_NF, wide, tmp_path, "")[0]
    ] == [1, 1]
    assert [
        len(member.variants) for member in admitted(judged, weights_FS, None, Limits(), tmp_path, "")[0]
    ] == [1, 1]


def _gate(mean_auc: float) -> dict[str, object]:
    return {
        "logits": 0.1,
        "maps": 0.1,
        "probability": 0.01,
        "auc": mean_auc,
        "mean_auc": mean_auc,
        "speed": 2.0,
        "tolerance": 0.1,
        "data": "200 images",
        "images": 200,
        "engine": "openvino",
    }


def test_the_film_check_is_delivered_with_the_members() -> None:
    contract = read_contract(DEMO)[0]
    assert contract.film_check is not None
    names = network_files(contract)
    assert contract.film_check.file in names
    assert {member.file for member in contract.members} < set(names)
    assert all((DEMO / name).is_file() for name in names)
