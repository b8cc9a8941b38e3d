"""`cxrserve models quantize`: what is admitted serves, what is not says why, and nothing else changes."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxrserve.bundle.contract import Contract, load_bundle, read_contract
from cxrserve.engines import openvino
from cxrserve.engines.openvino import computes_bf16, computes_int8
from cxrserve.engines.select import choose
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import BundleError, EngineError, RequestError
from cxrserve.settings import Settings
from tests import radiographs
from tests.bundles import write_tiny_bundle
from training.precision import bf16
from training.precision.gate import Answers, Limits, auc_falls, measure, why_refused
from training.precision.quantize.int8_graph import convolutions, quantised
from training.precision.quantize.quantize import quantize_bundle

SIZES = (64, 128)
# Whatever it costs or gains: the tiny networks have too few multiplications to become faster.
ANYTHING = Limits(probability=1.0, auc=1.0, finding_auc=1.0, speed=0.0)

needs_int8 = pytest.mark.skipif(not computes_int8(), reason="this CPU has no dot products of 8-bit integers")


@pytest.fixture(scope="module")
def admitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose variants were all admitted."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("quantize") / "bundle", sizes=SIZES)
    _quantize(folder, ANYTHING)
    return folder


def _quantize(folder: Path, limits: Limits, **options: object) -> Contract:
    asked: dict[str, object] = {
        "paths": (),
        "phantoms": 12,
        "seed": 5,
        "labelled": None,
        "precision": "mixed",
        "limits": limits,
    }
    quantize_bundle(folder, **{**asked, **options})  # type: ignore[arg-type]
    return read_contract(folder)[0]


@needs_int8
def test_the_bundle_says_what_was_measured(admitted: Path) -> None:
    for member in read_contract(admitted)[0].members:
        (variant,) = member.variants
        assert variant.precision == "int8"
        gate = variant.gate
        assert gate.images == 3
        assert gate.data == "3 held out of 12 phantoms, seeds from 5"
        assert gate.logits > 0
        assert 0 < gate.probability < 0.2
        assert gate.speed


@needs_int8
def test_auto_serves_the_variants_and_says_so(admitted: Path) -> None:
    predictor = Predictor.open(Settings(bundle=admitted, threads=1))
    assert predictor.precisions == {64: "int8", 128: "int8"}
    exact = Predictor.open(Settings(bundle=admitted, threads=1, precision="f32"))
    assert exact.precisions == {64: "f32", 128: "f32"}
    levels = {size: radiographs.pixels(size, size) for size in SIZES}
    found, expected = (each.predict(levels, explain="all") for each in (predictor, exact))
    assert found.logits_FS.shape == expected.logits_FS.shape
    assert (found.logits_FS != expected.logits_FS).any()
    np.testing.assert_allclose(found.probabilities_F, expected.probabilities_F, atol=0.1)
    assert all(each.dtype == np.float32 for each in found.maps.values())


@needs_int8
def test_the_maps_still_explain_the_logits(admitted: Path) -> None:
    """The mean of a map plus a constant is its logit, in integers, too: both come from the same layer."""
    choice = choose("openvino", "int8")
    bundle = choice.load(admitted)
    engine = choice.build(bundle.models[128], size=128, threads=1, variant="int8")
    film = radiographs.pixels(128, 128)
    images = np.stack([film, film.T, 255 - film, film[::-1]])[:, None]
    output = engine.run(np.ascontiguousarray(images))
    constant_NF = output.logits_NF - output.maps_NFhw.mean((2, 3))
    # bfloat16 keeps eight bits of what stands beside the integers, here of logits around 2.
    np.testing.assert_allclose(constant_NF, np.broadcast_to(constant_NF[0], (4, 14)), atol=0.02)
    assert output.maps_NFhw.mean((2, 3)).std() > 0.05


@needs_int8
def test_a_damaged_variant_is_refused(admitted: Path, tmp_path: Path) -> None:

    folder = Path(shutil.copytree(admitted, tmp_path / "bundle"))
    (file,) = folder.glob("scale_128.int8.onnx")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    load_bundle(folder)
    with pytest.raises(BundleError, match=r"scale_128\.int8\.onnx has SHA-256"):
        load_bundle(folder, ("int8",))


@needs_int8
def test_what_fails_the_gate_stays_as_it_was_and_the_bundle_says_why(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    contract = _quantize(folder, dataclasses.replace(ANYTHING, probability=1e-9))
    (member,) = contract.members
    assert member.variants == ()
    assert set(member.refused) == {"int8", "mixed"}
    assert "a probability changes by" in member.refused["int8"]
    assert [file.name for file in folder.glob("*.onnx")] == ["scale_64.onnx"]
    assert Predictor.open(Settings(bundle=folder, threads=1)).precisions[64] in ("f32", "bf16")
    with pytest.raises(BundleError, match=r"no member that passed its gate.*a probability changes"):
        Predictor.open(Settings(bundle=folder, threads=1, precision="int8"))


@needs_int8
def test_films_calibrate_without_labels(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    films = tmp_path / "films"
    films.mkdir()
    for number in range(8):
        (films / f"{number}.png").write_bytes(radiographs.png(columns=400 + number))
    (films / "notes.txt").write_text("no film")
    contract = _quantize(folder, ANYTHING, paths=[films], phantoms=0, precision="int8")
    gate = contract.members[0].variants[0].gate
    assert (gate.data, gate.auc) == ("2 held out of 8 films", None)


def test_neither_films_nor_phantoms_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    with pytest.raises(RequestError, match="one of the two"):
        _quantize(folder, ANYTHING, phantoms=0)


def test_layers_that_are_kept_are_not_quantised(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    model = load_bundle(folder).models[64]
    images = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.uint8))
    layers = convolutions(model)
    counts = []
    for keep in ((), layers[:1], layers):
        made = onnx.load_from_string(quantised(model, images, keep))
        counts.append(sum(node.op_type == "QuantizeLinear" for node in made.graph.node))
        assert [axis.dim_value for axis in made.graph.input[0].type.tensor_type.shape.dim[1:]] == [1, 64, 64]
    assert counts[0] > counts[1] > counts[2]


def test_the_gate_measures_what_it_says() -> None:
    member = Answers(
        logits_NF=np.zeros((4, 14), np.float32), maps_NFhw=np.random.rand(4, 14, 2, 2).astype(np.float32)
    )
    logits_NF = member.logits_NF.copy()
    logits_NF[2, 5] = 2.0
    logits_NF[1, 7] = 50.0
    variant = Answers(logits_NF=logits_NF, maps_NFhw=member.maps_NFhw)
    labels_NF = np.full((4, 14), np.nan, np.float32)
    known = [index for index in range(14) if index != 7]
    gate = measure(member, variant, labels_NF, Limits(), known=known, faster=1.5, data="d", engine="e")
    assert gate.probability == pytest.approx(0.3808, abs=1e-4)
    assert (gate.logits, gate.maps, gate.auc, gate.speed) == (2.0, 0.0, None, 1.5)
    assert why_refused(gate, Limits()) == "a probability changes by 0.3808, more than 0.1"
    assert why_refused(gate, Limits(probability=0.5)) is None
    assert why_refused(gate, Limits(probability=0.5, speed=2)) == "it is 1.50 times as fast, less than 2"


def test_a_fall_of_auc_is_refused() -> None:
    labels_NF = np.array([[0.0], [0.0], [1.0], [1.0]], np.float32)
    before, after = np.array([[0.1], [0.2], [0.3], [0.4]]), np.array([[0.1], [0.35], [0.3], [0.4]])
    assert auc_falls(before, after, labels_NF) == [0.25]
    assert auc_falls(before, after, np.ones_like(labels_NF)) == []


def test_instructions_are_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, able in (("sse avx2 avx512f", False), ("avx2 avx_vnni", True), ("fp asimddp", True)):
        (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
        assert computes_int8(tmp_path / "cpuinfo") is able
    assert not computes_int8(tmp_path / "nothing")
    monkeypatch.setattr(openvino, "computes_int8", lambda: False)
    assert choose("openvino", "auto").variants == ()
    with pytest.raises(EngineError, match="no instructions for it"):
        choose("openvino", "int8")


def test_int8_and_fp16_are_refused_where_they_cannot_be_had() -> None:
    with pytest.raises(EngineError, match="engine openvino"):
        choose("onnxruntime", "int8")
    with pytest.raises(EngineError, match="for GPUs"):
        choose("openvino", "fp16")


needs_bf16 = pytest.mark.skipif(not computes_bf16(), reason="this CPU does not compute in bfloat16")


@needs_bf16
def test_bfloat16_serves_only_once_it_was_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=SIZES)
    assert Predictor.open(Settings(bundle=folder, threads=1)).precision == "f32"
    assert "the effect of bf16 at 64, 128 was not measured" in caplog.text
    with pytest.raises(BundleError, match=r"no member that passed its gate.*quantize --precision bf16"):
        Predictor.open(Settings(bundle=folder, threads=1, precision="bf16"))
    contract = _quantize(folder, ANYTHING, precision="bf16")
    for member in contract.members:
        assert member.variants == ()
        assert member.bf16 is not None
        assert (member.bf16.images, member.bf16.data) == (12, "12 phantoms, seeds from 5")
        assert 0 < member.bf16.probability < 0.05
        assert member.bf16.mean_auc is not None
    for asked in ("auto", "bf16"):
        served = Predictor.open(Settings(bundle=folder, threads=1, precision=asked))
        assert served.precisions == {64: "bf16", 128: "bf16"}


@needs_bf16
def test_bfloat16_that_changes_too_much_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16, "LIMITS", Limits(probability=1e-9))
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    (member,) = _quantize(folder, ANYTHING, precision="bf16").members
    assert member.bf16 is None
    assert "a probability changes by" in member.refused["bf16"]
    assert Predictor.open(Settings(bundle=folder, threads=1)).precision == "f32"


# A program where the packages named first are not installed.
_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

blocked = set(sys.argv.pop(1).split(","))

class Blocker(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in blocked else found(name, *more)
"""
_COMMAND = "from cxrserve.cli.main import main; main()"
# What `models init` does for each size.
_EXPORT = """
from pathlib import Path
import numpy as np
import training.steps.untrained
from training.networks.base import SmallNetwork
from training.networks.export import export_member
from training.precision.bf16 import gated

member, differences = export_member(SmallNetwork(64), 64, Path(sys.argv[1]))
assert differences.keys() == {"logits torch–onnxruntime f32", "maps torch–onnxruntime f32"}, differences
images = [np.zeros((64, 64), np.uint8)]
member = gated(member, (Path(sys.argv[1]) / member.file).read_bytes(), images, None, "nothing")
assert member.bf16 is None and member.refused == {}, member
"""


def _run_without(blocked: str, *arguments: str, program: str = _COMMAND) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WITHOUT + program, blocked, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_half_precision_is_made_without_openvino_and_nncf(tmp_path: Path) -> None:
    """A machine with a GPU has ONNX Runtime and torch, and no need of either."""
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    options = ("models", "quantize", str(folder), "--phantoms", "4", "--precision", "fp16")
    done = _run_without("openvino,nncf", *options)
    assert done.returncode == 0, done.stderr
    (member,) = read_contract(folder)[0].members
    assert [variant.precision for variant in member.variants] == ["fp16"]
    assert load_bundle(folder, ("fp16",)).variants.keys() == {64}


def test_networks_are_exported_without_openvino(tmp_path: Path) -> None:
    """For benchmarks of a machine that has a GPU and not OpenVINO."""
    done = _run_without("openvino,nncf", str(tmp_path), program=_EXPORT)
    assert done.returncode == 0, done.stderr


@needs_int8
def test_integers_without_nncf_say_which_extra_brings_it(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle", sizes=(64,))
    done = _run_without("nncf", "models", "quantize", str(folder), "--phantoms", "8")
    assert done.returncode == 2
    assert 'nncf is missing: pip install "cxrserve[quantize]"' in done.stderr.replace("\n", " ")


def test_a_map_that_changes_too_much_is_refused() -> None:
    rng = np.random.default_rng(0)
    exact = Answers(
        logits_NF=rng.normal(size=(3, 14)).astype(np.float32),
        maps_NFhw=rng.normal(size=(3, 14, 2, 2)).astype(np.float32),
    )
    moved = exact.maps_NFhw.copy()
    moved[1, 5, 0, 1] += 7
    changed = dataclasses.replace(exact, maps_NFhw=moved)
    gate = measure(exact, changed, None, Limits(), known=range(14), faster=2.0, data="", engine="")
    assert "a map changes by" in (why_refused(gate, Limits()) or "")
    assert why_refused(gate, Limits(maps=8.0)) is None
