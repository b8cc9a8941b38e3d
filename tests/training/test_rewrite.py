"""Pooling before mixing: the same answers from fewer multiplications."""

from __future__ import annotations

import copy
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.training.test_networks import image
from training.networks.architectures import ARCHITECTURES, trunks
from training.networks.base import MapNetwork
from training.networks.export import folded, to_onnx
from training.networks.heads import LinearHead
from training.networks.rewrite import pool_before_mixing

SIZE = 64


def multiplications(network: nn.Module, *inputs: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    return int(counter.get_total_flops()) // 2


def test_a_densenet_answers_the_same_with_eight_percent_less() -> None:
    torch.manual_seed(0)
    plain = trunks.densenet121().original.double().eval()
    rewritten = copy.deepcopy(plain)
    assert pool_before_mixing(rewritten) == 3
    batch = torch.rand(1, 3, 256, 256, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(rewritten(batch), plain(batch), rtol=1e-10, atol=1e-12)
    assert multiplications(rewritten, batch) < 0.925 * multiplications(plain, batch)
    assert rewritten.state_dict().keys() == plain.state_dict().keys()
    rewritten.load_state_dict(plain.state_dict())


@pytest.mark.parametrize(
    "pair",
    [
        (nn.Conv2d(4, 4, 3), nn.AvgPool2d(2)),
        (nn.Conv2d(4, 4, 1, stride=2), nn.AvgPool2d(2)),
        (nn.Conv2d(4, 4, 1), nn.MaxPool2d(2)),
        (nn.Conv2d(4, 4, 1), nn.AvgPool2d(2, padding=1)),
    ],
)
def test_what_does_not_commute_stays(pair: tuple[nn.Module, nn.Module]) -> None:
    sequence = nn.Sequential(*pair)
    assert pool_before_mixing(sequence) == 0
    assert list(sequence) == list(pair)


class Imported(MapNetwork):
    """A published DenseNet as an import brings it: its own layout, nothing rewritten yet."""

    architecture = normalisation = "as imported"

    def normalised(self, image_N1SS: torch.Tensor) -> torch.Tensor:
        return (image_N1SS.float() / 255).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("how", ["built", "imported"])
def test_what_is_exported_pools_first(how: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trunk = trunks.densenet121()
    network: MapNetwork = Imported(trunk.body, LinearHead(trunk.classifier))
    if how == "built":
        network = ARCHITECTURES["densenet121"](SIZE)
    network.eval()
    ready = folded(network)
    with torch.inference_mode():
        torch.testing.assert_close(ready(image(SIZE)), network(image(SIZE)), rtol=1e-3, atol=1e-4)
    to_onnx(ready, SIZE, tmp_path / "network.onnx")
    graph = onnx.load(tmp_path / "network.onnx").graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    pooled = [node for node in graph.node if node.op_type == "AveragePool"]
    assert [made_by[node.input[0]] for node in pooled] == ["Relu"] * 3
