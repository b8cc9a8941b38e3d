"""Exports the full-size bundle's networks as torchvision defines them, without our changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
import torch
import torchvision
from torch import Tensor, nn

from cxrserve.bundle.contract import load_bundle
from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from training.networks.architectures.grey import IMAGENET_MEAN, IMAGENET_STD

SIZES: Final = (256, 512, 1024, 2048)
SEED: Final = 0  # `cxrserve models init`'s
TOLERANCE: Final = 1e-3


class Plain(nn.Module):
    """torchvision's DenseNet121 on grey in three equal channels: uint8 [N, 1, S, S] to logits [N, 14]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.network = torchvision.models.densenet121(num_classes=14).eval()
        self.mean, self.std = (
            nn.Buffer(torch.tensor(figures)[:, None, None]) for figures in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network((image.float() / 255 - self.mean) / self.std)
        return logits


def export_networks(folder: Path, ours: Path) -> Path:
    """Write scale_<size>.onnx and the stack into `folder`, once, and compare them with the bundle `ours`.

    Raises:
        RuntimeError: their logits differ from the bundle's, so the comparison would be unfair.
    """
    about = folder / "ensemble.json"
    if about.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        path = folder / f"scale_{size}.onnx"
        image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
        program = torch.onnx.export(
            Plain().eval(),
            (image,),
            input_names=["image"],
            output_names=["logits"],
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=False)
        if (apart := _apart(path, ours / path.name, size)) > TOLERANCE:
            path.unlink()
            raise RuntimeError(f"{path.name} is {apart:.2g} standard deviations from the bundle's")
    contract = load_bundle(ours).contract
    about.write_text(json.dumps({"findings": contract.findings, "sizes": SIZES, "stack": contract.stack}))
    return folder


def _apart(plain: Path, ours: Path, size: int) -> float:
    """Largest difference of a logit, in their standard deviations, on one image of noise."""
    image = np.random.default_rng(size).integers(0, 256, (1, 1, size, size), np.uint8)
    session = onnxruntime.InferenceSession(plain)
    (theirs,) = session.run(None, {"image": image})
    engine = OnnxRuntimeEngine(ours.read_bytes(), size=size, precision="f32", threads=2)
    expected = engine.run(image).logits_NF
    return float(np.abs(np.asarray(theirs) - expected).max() / expected.std())
