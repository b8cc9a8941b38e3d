"""Reference without cxrserve: torch eager, four DenseNet121, the grad-cam package.

Prints one JSON line.
Run as a process of its own (`python -m tests.benchmarks.torch_eager JPEG`), so that its memory is its own.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

SIZES = (256, 512, 1024, 2048)
FINDINGS = 14
TIMED_FINDINGS = 2  # of 14: every finding costs the same forward and backward pass


def _timed(work: Callable[[], Any], runs: int) -> float:
    """Median seconds of `work` over `runs`, after one run that does not count."""
    work()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _load(jpeg: Path) -> dict[int, torch.Tensor]:
    picture = Image.open(jpeg).convert("RGB")
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = {}
    for size in SIZES:
        pixels = torch.from_numpy(np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR)).copy())
        images[size] = ((pixels / 255 - mean) / deviation).permute(2, 0, 1)[None]
    return images


def main(jpeg: Path) -> None:
    torch.manual_seed(0)
    networks = {size: torchvision.models.densenet121(num_classes=FINDINGS).eval() for size in SIZES}
    load_s = _timed(lambda: _load(jpeg), 3)
    images = _load(jpeg)
    probabilities_s, heatmap_s = {}, {}
    for size in SIZES:
        network, image = networks[size], images[size]
        with torch.inference_mode():
            probabilities_s[size] = _timed(partial(network, image), 3)
        targets = [ClassifierOutputTarget(finding) for finding in range(TIMED_FINDINGS)]
        with GradCAM(model=network, target_layers=[network.features]) as cam:
            cam(input_tensor=image, targets=targets[:1])  # one that does not count
            started = time.perf_counter()
            for target in targets:
                cam(input_tensor=image, targets=[target])
            heatmap_s[size] = (time.perf_counter() - started) / TIMED_FINDINGS
    result = {
        "torch": torch.__version__,
        "load_s": load_s,
        "probabilities_s": probabilities_s,
        "one_heatmap_s": heatmap_s,
        "answer_without_heatmaps_s": load_s + sum(probabilities_s.values()),
        "answer_with_14_heatmaps_s": load_s + FINDINGS * sum(heatmap_s.values()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
