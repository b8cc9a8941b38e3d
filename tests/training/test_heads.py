"""Each head's maps are Grad-CAM, though nothing is differentiated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

from tests.training.test_networks import FINDINGS, LogitsOf, autograd_cam, image, raw_cam
from training.networks.base import SmallNetwork
from training.networks.heads import HIDDEN, ConcatHead, LinearHead

CHANNELS = 12


def features(*, seed: int = 0) -> Tensor:
    """Like a body's last ones: [3, K, 4, 5], nothing below zero."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, CHANNELS, 4, 5, generator=generator).relu()


def concat_head() -> ConcatHead:
    """In evaluation mode, with statistics, scales and biases that are not those of the start."""
    torch.manual_seed(0)
    head = ConcatHead(CHANNELS)
    with torch.no_grad():
        for norm in (head.before[0], head.between[0]):
            assert isinstance(norm, nn.BatchNorm1d)
            for name, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
                getattr(norm, name).uniform_(low, low + 1)
        head.bias.normal_()
    return head.eval()


def by_autograd(head: ConcatHead, features_NKhw: Tensor) -> Tensor:
    """h·w times Grad-CAM before its ReLU, by its definition: [N, 14, h, w]."""
    leaf = features_NKhw.clone().requires_grad_()
    logits_NF = head.output(head.evidence(leaf)).logits
    cells = leaf.shape[-2] * leaf.shape[-1]
    maps = []
    for finding in range(logits_NF.shape[1]):
        (gradient,) = torch.autograd.grad(logits_NF[:, finding].sum(), leaf, retain_graph=True)
        maps.append((gradient.mean((2, 3), keepdim=True) * leaf).sum(1).detach() * cells)
    return torch.stack(maps, 1)


class TestConcatHead:
    def test_maps_are_autograds_grad_cam(self) -> None:
        head = concat_head()
        output = head.output(head.evidence(features()))
        torch.testing.assert_close(output.maps, by_autograd(head, features()))

    def test_a_maximum_in_several_cells_changes_nothing(self) -> None:
        head, tied = concat_head(), features().round()
        assert (tied == tied.amax((2, 3), keepdim=True)).sum() > tied.shape[0] * tied.shape[1]
        torch.testing.assert_close(head.output(tied).maps, by_autograd(head, tied))

    def test_maps_of_a_network_are_those_of_the_grad_cam_package(self) -> None:
        net = SmallNetwork(128)
        net.head = ConcatHead(48)
        net = seen(net)
        maps = net(image(128)).maps[0].relu().detach().numpy()
        assert maps.max() > 0
        with GradCAM(model=LogitsOf(net), target_layers=[list(net.body.children())[-1]]) as package:
            for finding in FINDINGS:
                tolerance = 1e-4 * maps.max()
                packaged = raw_cam(package, image(128).float(), finding) * maps[finding].size
                np.testing.assert_allclose(maps[finding], packaged, atol=tolerance)
                by_definition = autograd_cam(net, image(128), finding) * maps[finding].size
                np.testing.assert_allclose(maps[finding], by_definition, atol=tolerance)

    def test_logits_are_those_of_fastais_head(self) -> None:
        """Concatenation, batch normalisation, dropout, linear, ReLU, batch normalisation, dropout, linear."""
        head, given = concat_head(), features()
        pooled = torch.cat(
            [nn.functional.adaptive_avg_pool2d(given, 1), nn.functional.adaptive_max_pool2d(given, 1)], 1
        )
        layers = nn.Sequential(nn.Flatten(), head.before, head.hidden, nn.ReLU(), head.between, head.last)
        torch.testing.assert_close(head.output(given).logits, layers(pooled) + head.bias)
        assert head.hidden.weight.shape == (HIDDEN, 2 * CHANNELS)

    def test_dropout_is_chizaris_while_training_only(self) -> None:
        head = concat_head()
        assert [layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)] == [0.3, 0.6]
        assert torch.equal(head.output(features()).logits, head.output(features()).logits)
        head.train()
        assert not torch.equal(head.output(features()).logits, head.output(features()).logits)

    def test_starts_as_kaiming_says(self) -> None:
        head = ConcatHead(256)
        for layer in (head.hidden, head.last):
            expected = (2 / layer.in_features) ** 0.5
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)

    def test_folding_the_gain_changes_no_answer(self) -> None:
        head = concat_head()
        with torch.no_grad():
            head.log_gain.uniform_(-1, 1)
        before = head.output(features())
        head.fold_gain()
        after = head.output(features())
        assert head.log_gain.abs().max() == 0
        torch.testing.assert_close(after.logits, before.logits)
        torch.testing.assert_close(after.maps, before.maps)


class TestLinearHead:
    def test_starts_as_the_layer_it_is_given(self) -> None:
        linear = nn.Linear(CHANNELS, 14)
        head = LinearHead(linear, dropout=0.4).eval()
        output = head.output(head.evidence(features()))
        torch.testing.assert_close(output.logits, linear(features().mean((2, 3))))

    def test_dropping_maps_is_dropping_pooled_values(self) -> None:
        head = LinearHead(nn.Linear(CHANNELS, 14), dropout=0.5).train()
        output = head.output(head.evidence(features()))
        torch.testing.assert_close(output.maps.mean((2, 3)) + head.bias, output.logits)
        weight_FK = head.project.weight[:, :, 0, 0]
        torch.manual_seed(3)
        dropped_NK = head.dropout(features()).mean((2, 3))
        torch.manual_seed(3)
        again = head.output(head.evidence(features()))
        torch.testing.assert_close(again.logits, dropped_NK @ weight_FK.T + head.bias)


def seen(net: SmallNetwork) -> SmallNetwork:
    """In evaluation mode, with the statistics of a few images."""
    torch.manual_seed(1)
    net.train()
    with torch.no_grad():
        for seed in range(3):
            net(torch.cat([image(128, seed), image(128, seed + 10)]))
    return net.eval()
