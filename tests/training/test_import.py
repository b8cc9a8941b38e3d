"""Published weights become a bundle that serves, and nothing is invented for what they do not know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cxrserve.bundle.contract import load_bundle, read_contract
from cxrserve.cli.main import app
from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import BundleError
from cxrserve.findings import NAMES
from cxrserve.imaging.profiles import apply_profile
from cxrserve.imaging.pyramid import Preprocessing, build_pyramid
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.dicom import read_source
from cxrserve.reports.dicom.summary import image_summary
from cxrserve.settings import Settings
from tests import radiographs
from tests.conftest import Serve
from tests.training.checkpoints import CHEXNET, Hostile, chexnet_names, densenet121, write_chexnet
from training.importing.checkpoint import read_checkpoint
from training.importing.network import NORMALISATIONS, ImportedNetwork
from training.importing.xrv import read_xrv
from training.phantom import make_phantom

XRV = "densenet121-res224-all"
KNOWN = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
)
UNKNOWN = tuple(name for name in NAMES if name not in KNOWN)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", "import", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.fixture(scope="module")
def chexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A bundle of one size from a checkpoint of CheXNet's kind, and the network in it."""
    folder = tmp_path_factory.mktemp("import")
    network = write_chexnet(folder / "model.pth.tar")
    code, said = run(folder / "bundle", "--weights", f"{folder / 'model.pth.tar'}@64", "--findings", CHEXNET)
    assert code == 0, said
    return folder / "bundle", network


def test_the_bundle_answers_as_the_published_network(chexnet: tuple[Path, Any]) -> None:
    folder, network = chexnet
    grey = np.random.default_rng(3).integers(0, 256, (64, 64), np.uint8)
    predictor = Predictor.open(Settings(bundle=folder, engine="onnxruntime", threads=1))
    found = predictor.predict({64: grey}).logits_FS[:, 0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    image = (torch.from_numpy(grey).float()[None, None].repeat(1, 3, 1, 1) / 255 - mean[:, None, None]) / std[
        :, None, None
    ]
    with torch.inference_mode():
        expected = network(image)[0].numpy()
    outputs = CHEXNET.split(",")
    for name in KNOWN:
        theirs = "Effusion" if name == "Pleural Effusion" else name
        assert found[NAMES.index(name)] == pytest.approx(expected[outputs.index(theirs)], abs=1e-3)


def test_what_nobody_knows_has_no_answer(chexnet: tuple[Path, Any]) -> None:
    folder, _ = chexnet
    contract, _ = read_contract(folder)
    assert contract.unavailable == UNKNOWN
    assert contract.members[0].findings == KNOWN
    assert set(contract.operating_points) == set(KNOWN)
    predictor = Predictor.open(Settings(bundle=folder, engine="onnxruntime", threads=1))
    prediction = predictor.predict({64: np.zeros((64, 64), np.uint8)}, explain="all")
    for index, name in enumerate(NAMES):
        assert np.isnan(prediction.probabilities_F[index]) == (name in UNKNOWN)
        assert (index in prediction.maps) == (name in KNOWN)
        assert not (prediction.positive_F[index] and name in UNKNOWN)
    named = predictor.predict({64: np.zeros((64, 64), np.uint8)}, explain=[NAMES.index("Fracture")])
    assert not named.maps


def test_the_service_says_null(chexnet: tuple[Path, Any], serve: Serve) -> None:
    folder, _ = chexnet
    with serve(bundle=folder) as running:
        response = httpx.post(
            f"{running.url}/predict?heatmaps=all", files={"file": radiographs.jpeg()}, timeout=60
        )
        files = [("file", radiographs.jpeg()), ("file", radiographs.jpeg())]
        study = httpx.post(f"{running.url}/predict/study", files=files, timeout=60)
    assert response.status_code == 200
    for finding in response.json()["findings"]:
        unknown = finding["finding"] in UNKNOWN
        assert (finding["probability"] is None) == unknown
        assert (finding["threshold"] is None) == unknown
        assert (finding["heatmap"] is None) == unknown
        assert (finding["scales"][0]["logit"] is None) == unknown
        assert finding["positive"] is False or not unknown
    for finding in study.json()["findings"]:
        unknown = finding["finding"] in UNKNOWN
        assert (finding["probability"] is None) == unknown
        assert (finding["decided_by"] is None) == unknown


def test_the_dicom_report_gives_an_unknown_finding_no_scale(chexnet: tuple[Path, Any]) -> None:
    """The logit of an unknown finding is 0, and so finite, but it is no answer."""
    with Pipeline(Settings(bundle=chexnet[0], threads=1, decode_workers=1)) as pipeline:
        data = radiographs.dicom()
        source = read_source(pipeline.header(data, timeout_s=30))
        summary = image_summary(source, pipeline.read(data, preview_side=1), pipeline.predictor.bundle)
    for finding in summary.findings:
        assert [scale.size for scale in finding.scales] == ([64] if finding.finding in KNOWN else [])


def test_a_weight_on_a_network_that_does_not_know_is_refused(
    chexnet: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, _ = chexnet
    contract = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    contract["stack"][NAMES.index("Fracture")] = [1.0]
    (tmp_path / "bundle.json").write_text(json.dumps(contract), encoding="utf-8")
    with pytest.raises(BundleError, match="Fracture"):
        read_contract(tmp_path)


@pytest.fixture(scope="module")
def xrv_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A download of TorchXRayVision as it is published, a whole network pickled; random."""
    from torchxrayvision import models

    folder = tmp_path_factory.mktemp("xrv")
    torch.manual_seed(1)
    torch.save(
        models.DenseNet(num_classes=18), folder / os.path.basename(models.model_urls[XRV]["weights_url"])
    )
    return folder


def test_torchxrayvisions_network_answers_as_its_own_package(xrv_folder: Path) -> None:
    model = read_xrv(XRV, xrv_folder)
    outputs = model.checkpoint.outputs
    assert outputs is not None
    network = ImportedNetwork(model.checkpoint, outputs, NORMALISATIONS["xrv"]).eval()
    theirs = torch.load(next(xrv_folder.iterdir()), weights_only=False).eval()
    phantom = make_phantom(5).radiograph
    grey_HW, _ = apply_profile(phantom, "torchxrayvision")
    preprocessing = Preprocessing(profile="torchxrayvision", fit="centre-crop", filter="area", sizes=(224,))
    level = build_pyramid(grey_HW, preprocessing)[224]
    with torch.inference_mode():
        ours = network(torch.from_numpy(level)[None, None]).logits[0]
        scaled = (2 * torch.from_numpy(level).float() / 255 - 1) * 1024
        expected = theirs(scaled[None, None])[0]
    for name in network.known:
        label = "Effusion" if name == "Pleural Effusion" else name
        torch.testing.assert_close(
            ours[NAMES.index(name)], expected[outputs.index(label)], rtol=1e-3, atol=1e-3
        )
    assert "Pleural Other" not in network.known
    assert (ours[NAMES.index("Support Devices")] == 0).all()


def test_torchxrayvisions_pixels_are_ours() -> None:
    """Profile, crop and resize against the package's own chain, on a phantom of native size."""
    import torchxrayvision as xrv

    radiograph = make_phantom(7).radiograph
    pixels = radiograph.pixels_HW
    most = 2**radiograph.about.bits_stored - 1
    stored = most - pixels if radiograph.white_is_low else pixels
    image = xrv.utils.normalize(stored, most)[None]
    theirs = xrv.datasets.XRayResizer(224)(xrv.datasets.XRayCenterCrop()(image))[0]
    grey_HW, _ = apply_profile(radiograph, "torchxrayvision")
    preprocessing = Preprocessing(profile="torchxrayvision", fit="centre-crop", filter="area", sizes=(224,))
    ours = (2 * build_pyramid(grey_HW, preprocessing)[224].astype(np.float32) / 255 - 1) * 1024
    assert np.abs(ours - theirs).mean() < 0.01 * 2048


def test_two_sizes_from_different_hands_make_one_bundle(xrv_folder: Path, tmp_path: Path) -> None:
    """A safetensors file that names its outputs, and a network of TorchXRayVision with its thresholds."""
    from safetensors.torch import save_file

    names = json.dumps(["Fracture", "Support Devices", "Granuloma"])
    save_file(densenet121(3).state_dict(), tmp_path / "own.safetensors", {"findings": names})
    both = ("--weights", f"{tmp_path}/own.safetensors@96", "--xrv-folder", xrv_folder)
    prepared = ("--profile", "torchxrayvision", "--fit", "centre-crop", "--normalisation", "half")
    code, said = run(tmp_path / "bundle", *both, "--xrv", f"{XRV}@96", *prepared)
    assert (code, "two networks look at the same size" in said) == (2, True)
    code, said = run(tmp_path / "bundle", *both, "--xrv", f"{XRV}@64")
    assert (code, "say --profile and --fit" in said) == (2, True)
    code, said = run(tmp_path / "bundle", *both, "--xrv", f"{XRV}@64", *prepared, "--name", "both", "--fp16")
    assert code == 0, said
    contract = load_bundle(tmp_path / "bundle").contract
    assert contract.preprocessing.sizes == (64, 96)
    assert contract.preprocessing.profile == "torchxrayvision"
    assert contract.preprocessing.fit == "centre-crop"
    assert contract.unavailable == ("No Finding", "Pleural Other")
    assert [member.variants[0].precision for member in contract.members] == ["fp16", "fp16"]
    weights = dict(zip(NAMES, contract.stack, strict=True))
    assert weights["Fracture"] == (0.5, 0.5)
    assert weights["Support Devices"] == (0.0, 1.0)
    assert weights["Pleural Other"] == (0.0, 0.0)
    # TorchXRayVision's own where it alone judges; one half where only one of two has a threshold.
    assert contract.operating_points["Atelectasis"].threshold == pytest.approx(0.07422872)
    assert contract.operating_points["Fracture"].threshold == 0.5


@pytest.mark.parametrize("name", ["weights.pth", "weights.bin"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": Hostile(tmp_path / "run")}, tmp_path / name)
    code, said = run(tmp_path / "bundle", "--weights", tmp_path / name, "--findings", CHEXNET)
    assert code == 2
    assert "could run code" in said
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "bundle").exists()


def test_a_hostile_download_is_refused_and_not_run(tmp_path: Path) -> None:
    from torchxrayvision import models

    folder = tmp_path / "xrv"
    folder.mkdir()
    torch.save(Hostile(tmp_path / "run"), folder / os.path.basename(models.model_urls[XRV]["weights_url"]))
    code, said = run(tmp_path / "bundle", "--xrv", XRV, "--xrv-folder", folder)
    assert code == 2
    assert "could run code" in said
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_imported_is_said(tmp_path: Path) -> None:
    state = densenet121(5).state_dict()
    torch.save(state, tmp_path / "five.pth")
    torch.save({**state, "extra.weight": torch.zeros(1)}, tmp_path / "more.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    cases: dict[str, list[object]] = {
        "does not say what its 5 outputs are": ["--weights", tmp_path / "five.pth"],
        "5 outputs, and 2 names": ["--weights", tmp_path / "five.pth", "--findings", "Edema,Fracture"],
        "none of the outputs": ["--weights", tmp_path / "five.pth", "--findings", "a,b,c,d,e"],
        "two outputs are called": ["--weights", tmp_path / "five.pth", "--findings", "Edema,edema,c,d,e"],
        "extra.weight": ["--weights", tmp_path / "more.pth", "--findings", "Edema,b,c,d,e"],
        "0 networks in torchvision": ["--weights", tmp_path / "other.pth", "--findings", "Edema"],
        "multiple of 32": ["--weights", f"{tmp_path / 'five.pth'}@100", "--findings", "Edema,b,c,d,e"],
        "there is no file": ["--weights", tmp_path / "none.pth"],
        "no network 'densenet'": ["--xrv", "densenet"],
        "give --weights or --xrv": [],
    }
    for expected, arguments in cases.items():
        code, said = run(tmp_path / "bundle", *arguments)
        assert code == 2, said
        assert expected in said


def test_names_and_prefixes_of_all_kinds_are_understood(tmp_path: Path) -> None:
    network = densenet121(2)
    state = network.state_dict()
    layouts: dict[str, dict[str, torch.Tensor]] = {
        "plain": state,
        "old": chexnet_names(state),
        "timm": {name.replace("classifier.", "fc."): tensor for name, tensor in state.items()},
        "lightning": {f"model.{name}": tensor for name, tensor in state.items()},
    }
    for layout, tensors in layouts.items():
        torch.save({"state_dict": tensors, "labels": ["Edema", "Fracture"]}, tmp_path / f"{layout}.pt")
        checkpoint = read_checkpoint(tmp_path / f"{layout}.pt")
        assert checkpoint.outputs == ("Edema", "Fracture")
        assert torch.equal(checkpoint.classifier.weight, network.classifier.weight)
        image = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            features = checkpoint.body.eval()(image)
            expected = torch.relu(network.eval().features(image))
        torch.testing.assert_close(features, expected)
