"""The maps that come out of a network are its Grad-CAM, and their means its logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from cxrserve.ensemble import heatmap, stack
from training.networks.architectures import ARCHITECTURES
from training.networks.base import STRIDE, MapNetwork, SmallNetwork, count_parameters

FINDINGS = (0, 5, 13)
DENSENET121 = ARCHITECTURES["densenet121"]


def image(size: int, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (1, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def network(kind: Callable[[int], MapNetwork], size: int) -> MapNetwork:
    torch.manual_seed(1)
    made = kind(size)
    # Statistics of a batch, so that the last features are neither all dead nor all alike.
    made.train()
    with torch.no_grad():
        for seed in range(4):
            made(torch.cat([image(size, seed), image(size, seed + 10)]))
    return made.eval()


def autograd_cam(net: MapNetwork, image_N1SS: Tensor, finding: int) -> np.ndarray:
    """Grad-CAM by its definition, without any normalisation: ReLU(Σ_k mean_ij(∂logit/∂A_kij) A_k)."""
    features = net.features(image_N1SS).detach().requires_grad_()
    logit = net.head.output(net.head.evidence(features)).logits[0, finding]
    (gradient,) = torch.autograd.grad(logit, features)
    return (gradient.mean((2, 3), keepdim=True) * features).sum(1).relu()[0].detach().numpy()


@pytest.mark.parametrize(
    ("kind", "size"), [(DENSENET121, 128), (SmallNetwork, 256)], ids=["densenet121", "small"]
)
class TestEveryNetwork:
    def test_shapes_and_stride(self, kind: Callable[[int], MapNetwork], size: int) -> None:
        output = network(kind, size)(image(size))
        assert output.logits.shape == (1, 14)
        assert output.maps.shape == (1, 14, size // STRIDE, size // STRIDE)

    def test_mean_of_a_map_plus_bias_is_its_logit(self, kind: Callable[[int], MapNetwork], size: int) -> None:
        net = network(kind, size)
        output = net(image(size))
        torch.testing.assert_close(output.maps.mean((2, 3)) + net.head.bias, output.logits, rtol=0, atol=1e-6)

    def test_the_features_end_in_relu(self, kind: Callable[[int], MapNetwork], size: int) -> None:
        features = network(kind, size).features(image(size))
        assert features.min() == 0
        assert features.max() > 0

    def test_maps_are_autograds_grad_cam(self, kind: Callable[[int], MapNetwork], size: int) -> None:
        net = network(kind, size)
        maps = net(image(size)).maps[0].relu().detach().numpy()
        cells = maps.shape[-1] ** 2
        for finding in FINDINGS:
            # The gradient of a mean over cells is 1/cells of the weight.
            expected = autograd_cam(net, image(size), finding) * cells
            np.testing.assert_allclose(maps[finding], expected, atol=1e-4 * maps.max())

    def test_maps_are_those_of_the_grad_cam_package(
        self, kind: Callable[[int], MapNetwork], size: int
    ) -> None:
        net = network(kind, size)
        maps = net(image(size)).maps[0].relu().detach().numpy()
        cells = maps.shape[-1] ** 2
        with GradCAM(model=LogitsOf(net), target_layers=[list(net.body.children())[-1]]) as package:
            package.activations_and_grads(image(size).float())
            for finding in FINDINGS:
                weights_and_maps = raw_cam(package, image(size).float(), finding)
                np.testing.assert_allclose(maps[finding], weights_and_maps * cells, atol=1e-4 * maps.max())


class LogitsOf(nn.Module):
    """What the package wants: a module that returns scores alone."""

    def __init__(self, net: MapNetwork) -> None:
        super().__init__()
        self.net = net

    def forward(self, image_N1SS: Tensor) -> Tensor:
        logits: Tensor = self.net(image_N1SS).logits
        return logits


def raw_cam(package: GradCAM, image_N1SS: Tensor, finding: int) -> np.ndarray:
    """The package's own map before it scales each to 0..1 and enlarges it."""
    scores = package.activations_and_grads(image_N1SS)
    package.model.zero_grad()
    ClassifierOutputTarget(finding)(scores[0]).backward(retain_graph=True)
    activations = package.activations_and_grads.activations[-1].numpy()
    gradients = package.activations_and_grads.gradients[-1].numpy()
    raw = package.get_cam_image(
        image_N1SS, package.target_layers[-1], [ClassifierOutputTarget(finding)], activations, gradients
    )
    return np.asarray(np.maximum(raw[0], 0))


@pytest.mark.parametrize("of", ["minus log of 1 - p", "p"])
def test_the_ensembles_map_is_autograds_grad_cam_of_the_stacked_probability(of: str) -> None:
    """Grad-CAM by its definition, p = Σ_s w_s σ(l_s), each scale's laid on one grid.

    What is served is that of −log(1 − p); that of p itself is the same times 1 − p.
    """
    sizes, finding = (64, 128), 6
    weights_S = np.array([0.3, 0.7])
    features: dict[int, Tensor] = {}
    logits: list[Tensor] = []
    nets = {size: network(DENSENET121, size) for size in sizes}
    for size, net in nets.items():
        features[size] = net.features(image(size)).detach().requires_grad_()
        logits.append(net.head.output(net.head.evidence(features[size])).logits[0])
    probability = (torch.from_numpy(weights_S) * torch.stack(logits, -1)[finding].double().sigmoid()).sum()
    explained = probability if of == "p" else -torch.log1p(-probability)
    gradients = torch.autograd.grad(explained, list(features.values()))
    expected = {}
    for size, gradient in zip(sizes, gradients, strict=True):
        cells = (size // STRIDE) ** 2
        raw = (gradient.mean((2, 3), keepdim=True) * features[size]).sum(1)[0]
        expected[size] = (raw * cells).detach().numpy().astype(np.float32)
    by_definition = heatmap.ensemble_map(expected, dict.fromkeys(sizes, 1.0))

    logits_FS = torch.stack(logits, -1).detach().double().numpy()
    evidence_FS = stack.evidence_weights(logits_FS, np.tile(weights_S, (14, 1)))
    maps = {size: net(image(size)).maps[0, finding].detach().numpy() for size, net in nets.items()}
    served = heatmap.ensemble_map(maps, dict(zip(sizes, evidence_FS[finding].tolist(), strict=True)))
    if of == "p":
        served = served * np.float32(1 - probability.item())
    assert served.max() > 0
    np.testing.assert_allclose(served, by_definition, atol=1e-4 * served.max())


def test_the_small_network_is_small() -> None:
    assert count_parameters(SmallNetwork(2048)) < 150_000


def test_folding_the_gain_changes_no_answer() -> None:
    net = network(SmallNetwork, 128)
    before = net(image(128))
    net.head.fold_gain()
    after = net(image(128))
    torch.testing.assert_close(after.logits, before.logits)
    torch.testing.assert_close(after.maps, before.maps)
    assert net.head.log_gain.abs().max() == 0
