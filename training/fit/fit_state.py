"""Files of a fit: its last state, the weights that are kept, its figures.

Every file is replaced as a whole: a kill at any moment leaves the old one or the new one. The last state is
written last, so that what a killed fit wrote after it is written again, the same, when it is resumed.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from training.fit.result import Epoch
from training.networks.base import MapNetwork

LAST: Final = "last.ckpt"
WEIGHTS: Final = "weights.safetensors"
METRICS: Final = "metrics.csv"
TENSORBOARD: Final = "tensorboard"


@dataclass(kw_only=True, slots=True)
class FitState:
    """Progress of a fit, as its checkpoint stores it.

    Attributes:
        fingerprint: what is fitted, how and on what; a fit is resumed with the same alone.
        phase: number of the phase that `epochs` ends in; −1 before the first.
        phase_done: that phase is complete.
        best: the best validation figure, loss or AUC; None before there is one.
        kept: number of the epoch whose weights are kept.
    """

    fingerprint: str
    phase: int = -1
    phase_done: bool = True
    stopped_early: bool = False
    best: float | None = None
    kept: int = -1
    epochs: list[Epoch] = dataclasses.field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.epochs[-1].seconds if self.epochs else 0.0

    def plain(self) -> dict[str, Any]:
        """Itself as numbers, strings and lists, which `torch.load` reads with `weights_only`."""
        return dataclasses.asdict(self)


def set_fields(config: Any) -> dict[str, object]:
    """The fields of a dataclass that differ from their defaults, so not those that a later version adds."""
    defaults: dict[str, object] = {}
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def read_record(folder: Path, fingerprint: str) -> FitState:
    """The record in `folder`, or a new one where nothing was fitted yet.

    Raises:
        ValueError: what was begun there is another fit.
    """
    path = folder / LAST
    if not path.exists():
        return FitState(fingerprint=fingerprint)
    plain = torch.load(path, map_location="cpu", weights_only=True)["fit"]
    epochs = [Epoch(**fields) for fields in plain.pop("epochs")]
    record = FitState(**plain, epochs=epochs)
    if record.fingerprint != fingerprint:
        raise ValueError(
            f"{folder} holds another fit, which cannot be continued: {record.fingerprint} was begun, and "
            f"{fingerprint} is asked for. Choose another folder, or remove this one"
        )
    return record


def load_last(network: MapNetwork, folder: Path) -> None:
    """Load the last checkpoint's weights into `network`."""
    state = torch.load(folder / LAST, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})


def save_weights(network: MapNetwork, folder: Path) -> None:
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    (folder / f"{WEIGHTS}.new").write_bytes(save(state))
    os.replace(folder / f"{WEIGHTS}.new", folder / WEIGHTS)


def load_weights(network: MapNetwork, folder: Path) -> None:
    from safetensors.torch import load_file

    network.load_state_dict(load_file(folder / WEIGHTS))


def write_metrics(epochs: list[Epoch], folder: Path) -> None:
    """`metrics.csv`: one row an epoch, a column for each field of `Epoch`, empty where there is no figure."""
    text = io.StringIO()
    names = [column.name for column in dataclasses.fields(Epoch)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for epoch in epochs:
        row = dataclasses.asdict(epoch)
        writer.writerow(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        )
    (folder / f"{METRICS}.new").write_text(text.getvalue(), encoding="utf-8")
    os.replace(folder / f"{METRICS}.new", folder / METRICS)
