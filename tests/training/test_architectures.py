"""The published architectures: the publisher's answers on grey, exactly, with maps beside them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cxrserve.engines.onnxruntime import OnnxRuntimeEngine
from cxrserve.engines.torch import TorchEngine
from tests.training.test_networks import image
from training.networks.architectures import ARCHITECTURES, HeadKind, trunks
from training.networks.architectures.grey import IMAGENET_MEAN, IMAGENET_STD, GreyNetwork, fold_colour
from training.networks.base import STRIDE
from training.networks.export import export_member
from training.networks.weights import Weights

SIZE = 64
MADE_BY = {
    "densenet121": trunks.densenet121,
    "densenet161": trunks.densenet161,
    "densenet121d": trunks.densenet121d,
    "densenetblur121d": trunks.densenetblur121d,
    "efficientnet_b4": trunks.efficientnet_b4,
}


def in_colour(image_N1SS: Tensor) -> Tensor:
    """What the publishers' networks take: three equal channels over 0..1, normalised."""
    mean, std = (torch.tensor(figures)[:, None, None] for figures in (IMAGENET_MEAN, IMAGENET_STD))
    return (image_N1SS.float() / 255 - mean) / std


def seen(network: nn.Module, batch: Tensor) -> nn.Module:
    """`network` in evaluation mode, its normalisations knowing the statistics of `batch`."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(batch)
    return network.eval()


def test_every_trunk_is_registered() -> None:
    assert MADE_BY.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_folded_network_answers_as_the_publishers_on_grey(name: str) -> None:
    torch.manual_seed(0)
    original = MADE_BY[name]()
    seen(original.original, in_colour(torch.cat([image(SIZE, 1), image(SIZE, 2)])))
    weights = Weights(source="test", tensors=original.original.state_dict())
    network = ARCHITECTURES[name](SIZE, weights=weights).eval()
    with torch.inference_mode():
        expected = original.body(in_colour(image(SIZE)))
        features = network.features(image(SIZE))
        output = network(image(SIZE))
    assert expected.std() > 1e-3
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))
    assert output.maps.shape == (1, 14, SIZE // STRIDE, SIZE // STRIDE)
    torch.testing.assert_close(output.maps.mean((2, 3)) + network.head.bias, output.logits)


@pytest.mark.parametrize("convolution", [nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.Conv2d(3, 8, 3, 2, 1)])
def test_folding_is_exact_at_the_border_too(convolution: nn.Conv2d) -> None:
    network = GreyNetwork(nn.Identity(), ARCHITECTURES["densenet121"](SIZE).head, "none")
    expected = convolution(in_colour(image(SIZE)))
    found = fold_colour(convolution)(network.normalised(image(SIZE)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_only_a_convolution_of_colour_is_folded() -> None:
    with pytest.raises(ValueError, match="three channels in one group"):
        fold_colour(nn.Conv2d(1, 8, 7))


@pytest.mark.parametrize("name", ["densenet121d", "densenetblur121d"])
def test_the_deep_stemmed_variants_are_timms(name: str) -> None:
    from timm.layers.blur_pool import BlurPool2d
    from timm.models.densenet import DenseNet

    torch.manual_seed(0)
    published = DenseNet(stem_type="deep", aa_layer=BlurPool2d if "blur" in name else None)
    seen(published, in_colour(torch.cat([image(SIZE, 1), image(SIZE, 2)])))
    network = ARCHITECTURES[name](SIZE, weights=Weights(source="timm", tensors=published.state_dict())).eval()
    with torch.inference_mode():
        expected = published.forward_features(in_colour(image(SIZE)))
        features = network.features(image(SIZE))
    torch.testing.assert_close(features, expected, rtol=0, atol=2e-5 * float(expected.max()))


def test_efficientnet_drops_channels_while_training_and_keeps_its_maps_true() -> None:
    network = ARCHITECTURES["efficientnet_b4"](SIZE).train()
    output = network(torch.cat([image(SIZE, 1), image(SIZE, 2)]))
    again = network(torch.cat([image(SIZE, 1), image(SIZE, 2)]))
    assert not torch.equal(output.logits, again.logits)
    torch.testing.assert_close(output.maps.mean((2, 3)) + network.head.bias, output.logits)


def test_a_memory_efficient_densenet_keeps_less_and_learns_the_same() -> None:
    torch.manual_seed(0)
    plain = ARCHITECTURES["densenet121"](SIZE)
    frugal = ARCHITECTURES["densenet121"](SIZE, memory_efficient=True)
    frugal.load_state_dict(copy.deepcopy(plain.state_dict()))
    batch = torch.cat([image(SIZE, 1), image(SIZE, 2)])
    kept = {"plain": 0, "frugal": 0}
    for name, network in (("plain", plain), ("frugal", frugal)):

        def keep(tensor: Tensor, name: str = name) -> Tensor:
            kept[name] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = network.train()(batch).logits.square().sum()
        loss.backward()
    assert kept["frugal"] < 0.6 * kept["plain"]
    for mine, theirs in zip(frugal.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None and mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize(("name", "head"), [("densenetblur121d", "concat"), ("efficientnet_b4", "linear")])
def test_engines_answer_as_the_network_does(name: str, head: HeadKind, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURES[name](SIZE, head=head)
    seen(network, torch.cat([image(SIZE, 1), image(SIZE, 2)]))
    member, differences = export_member(network, SIZE, tmp_path)
    assert max(differences.values()) < 1e-3
    assert member.architecture == network.architecture
    # Against the network before the export folded anything.
    with torch.inference_mode():
        expected = network(image(SIZE))
    for engine_class in (OnnxRuntimeEngine, TorchEngine):
        engine = engine_class((tmp_path / member.file).read_bytes(), size=SIZE, precision="f32", threads=1)
        found = engine.run(image(SIZE).numpy())
        torch.testing.assert_close(torch.from_numpy(found.logits_NF), expected.logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(torch.from_numpy(found.maps_NFhw), expected.maps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [0, 100])
def test_the_side_is_a_multiple_of_the_stride(size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 32 pixels, not {size}"):
        ARCHITECTURES["densenet121"](size)


def test_efficientnet_has_no_dense_blocks_to_recompute() -> None:
    with pytest.raises(ValueError, match="leave memory_efficient off"):
        ARCHITECTURES["efficientnet_b4"](SIZE, memory_efficient=True)
