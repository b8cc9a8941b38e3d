"""Theoretical receptive fields are computed correctly; effective ones are measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet

from training.networks.architectures import ARCHITECTURES
from training.networks.base import MapHead, MapNetwork, SmallNetwork
from training.networks.receptive_field import Field, effective_field, energy_radius, theoretical_field


class Grey(MapNetwork):
    """Any body, on grey about zero."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__(body, MapHead(1, 1, gain=False))

    def normalised(self, image_N1SS: Tensor) -> Tensor:
        return image_N1SS.float() / 128 - 1


def small_densenet() -> Grey:
    """A DenseNet of one layer a block, on one channel: it can see 159 pixels."""
    torch.manual_seed(0)
    features = DenseNet(8, (1, 1, 1, 1), 16).features
    features.conv0 = nn.Conv2d(1, 16, 7, 2, 3, bias=False)
    return Grey(nn.Sequential(features, nn.ReLU()))


def images(size: int, *, count: int = 8) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(5)
    return list(generator.integers(0, 256, (count, size, size), np.uint8))


class TestTheoreticalField:
    @pytest.mark.parametrize(
        ("name", "size"),
        # 2071: Haque et al. 2021, section 2.3, at the last convolution; what follows is pointwise. The deep
        # stem sees 11 pixels where the 7×7 sees 7, and blur in the stem 4 more.
        [("densenet121", 2071), ("densenet121d", 2075), ("densenetblur121d", 2079), ("densenet161", 2967)],
    )
    def test_is_that_of_the_publications(self, name: str, size: int) -> None:
        field = theoretical_field(ARCHITECTURES[name](64).body)
        assert field.size == size
        assert field.stride == 32

    def test_recomputing_changes_nothing(self) -> None:
        assert theoretical_field(ARCHITECTURES["densenet121"](64, memory_efficient=True).body).size == 2071

    def test_squeeze_and_excitation_sees_the_whole_image(self) -> None:
        assert theoretical_field(ARCHITECTURES["efficientnet_b4"](64).body).size == math.inf

    def test_of_the_demos_network(self) -> None:
        assert theoretical_field(SmallNetwork(64).body).size == 416

    @pytest.mark.parametrize(
        "body",
        [
            nn.Conv2d(1, 1, 5, stride=2, padding=2),
            nn.Sequential(nn.AvgPool2d(2), nn.ReLU(), nn.Conv2d(1, 1, 4, stride=2, padding=1)),
            nn.Sequential(nn.Conv2d(1, 1, 3, padding=2, dilation=2), nn.Conv2d(1, 1, 3, stride=4)),
        ],
    )
    def test_is_where_the_gradient_goes(self, body: nn.Module) -> None:
        image = torch.rand(1, 1, 64, 64, requires_grad=True)
        (gradient,) = torch.autograd.grad(body(image)[0, 0, 5, 5], image)
        rows = gradient[0, 0].abs().sum(1).nonzero().flatten().tolist()
        field = theoretical_field(body)
        assert rows[0] == 5 * field.stride + field.first
        assert rows[-1] == 5 * field.stride + field.last

    def test_of_one_window_after_another(self) -> None:
        body = nn.Sequential(nn.Conv2d(1, 1, 3, padding=2, dilation=2), nn.MaxPool2d(2))
        assert theoretical_field(body) == Field(stride=2, first=-2, last=3)

    def test_an_unknown_layer_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"ConvTranspose2d.* is not known"):
            theoretical_field(nn.Sequential(nn.ConvTranspose2d(1, 1, 2)))

    def test_a_window_that_is_no_square_is_refused(self) -> None:
        with pytest.raises(ValueError, match="is not square"):
            theoretical_field(nn.Sequential(nn.Conv2d(1, 1, (3, 5))))


class TestEffectiveField:
    def test_lies_inside_the_theoretical_one_and_about_its_middle(self) -> None:
        torch.manual_seed(0)
        network = SmallNetwork(512)
        field_SS = effective_field(network, images(512, count=4))
        theoretical = theoretical_field(network.body)
        rows, columns = np.nonzero(field_SS)
        middle = 512 // 32 // 2 * theoretical.stride
        for places in (rows, columns):
            assert middle + theoretical.first <= places.min()
            assert places.max() <= middle + theoretical.last
        centre = middle + (theoretical.first + theoretical.last) / 2
        for axis in (0, 1):
            gravity = (field_SS.sum(1 - axis) * np.arange(512)).sum() / field_SS.sum()
            assert gravity == pytest.approx(centre, abs=16)

    def test_shrinks_against_the_image_as_that_grows(self) -> None:
        network = small_densenet()
        radii = [energy_radius(effective_field(network, images(size)), 0.95) for size in (64, 128, 256)]
        assert radii == sorted(radii, reverse=True)
        assert radii[0] > 1.5 * radii[2]

    def test_is_the_mean_square_of_the_gradient(self) -> None:
        """Of a convolution by itself: its weights, squared, whatever the image shows."""
        body = nn.Conv2d(1, 1, 3, padding=1)
        field_SS = effective_field(Grey(body), images(8, count=2))
        expected = (body.weight[0, 0] / 128).square().detach().numpy()
        np.testing.assert_allclose(field_SS[3:6, 3:6], expected, rtol=1e-5)
        assert np.count_nonzero(field_SS) == 9

    def test_leaves_the_network_as_it_is(self) -> None:
        network = small_densenet().train()
        effective_field(network, images(64, count=1))
        assert network.training
        assert all(
            parameter.requires_grad and parameter.grad is None for parameter in network.body.parameters()
        )

    def test_moves_the_images_about(self) -> None:
        network, same = small_densenet(), images(64, count=1)
        assert not np.array_equal(effective_field(network, same), effective_field(network, same, seed=1))
        np.testing.assert_array_equal(effective_field(network, same), effective_field(network, same))

    def test_needs_images(self) -> None:
        with pytest.raises(ValueError, match="there are none"):
            effective_field(small_densenet(), [])


class TestEnergyRadius:
    def test_of_a_flat_disc(self) -> None:
        down, across = np.mgrid[:101, :101]
        disc = (np.hypot(down - 50, across - 50) <= 40).astype(np.float64)
        assert energy_radius(disc, 0.5) == pytest.approx(40 * 0.5**0.5 / 101, abs=0.01)
        assert energy_radius(disc, 1.0) == pytest.approx(40 / 101, abs=0.01)

    @pytest.mark.parametrize(("value", "share"), [(0.0, 0.5), (1.0, 0.0), (1.0, 1.5)])
    def test_refuses_what_has_none(self, value: float, share: float) -> None:
        with pytest.raises(ValueError, match="no radius holds"):
            energy_radius(np.full((4, 4), value), share)
