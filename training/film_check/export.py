"""Write the film check's network as one ONNX file, with probabilities instead of logits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from cxrserve.film_check.network import FilmCheckNetwork as ServedNetwork
from training.film_check.network import FEATURES, SIDE, FilmCheckNetwork
from training.networks.export import OPSET

NAME: Final = "film_check.onnx"
OUTPUTS: Final = ("turn", "inverted", "views", "cut", "chest", "features")
# Largest difference between torch and the session that serves.
_TOLERANCE: Final = 1e-3


class _Probabilities(nn.Module):
    def __init__(self, network: FilmCheckNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        answers = self.network(image)
        return (
            answers.turn_N8.softmax(1),
            answers.inverted_N.sigmoid(),
            answers.view_N3.softmax(1),
            answers.cut_N4.sigmoid(),
            answers.chest_N.sigmoid(),
            answers.features_ND,
        )


def export(network: FilmCheckNetwork, folder: Path) -> Path:
    """Write `network` into `folder`; the file's path.

    Raises:
        ValueError: the session that serves answers differently from torch.
    """
    module = _Probabilities(copy.deepcopy(network)).eval().to(memory_format=torch.contiguous_format)
    program = torch.onnx.export(
        module,
        (torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: torch.export.Dim("images")},),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    path = folder / NAME
    path.write_bytes(model.SerializeToString())
    _compare(module, path)
    return path


def _compare(module: nn.Module, path: Path) -> None:
    picture_SS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    with torch.inference_mode():
        expected = [output.numpy()[0] for output in module(torch.from_numpy(picture_SS)[None, None])]
    answer = ServedNetwork(path.read_bytes(), features=FEATURES).look(picture_SS)
    outputs = (answer.turn_8, answer.inverted, answer.view_3, answer.cut_4, answer.chest, answer.features_D)
    for name, output, reference in zip(OUTPUTS, outputs, expected, strict=True):
        difference = float(np.abs(np.asarray(output) - reference).max())
        if difference > _TOLERANCE:
            raise ValueError(f"{path}: {name} differs by {difference} from torch; allowed are {_TOLERANCE}")
