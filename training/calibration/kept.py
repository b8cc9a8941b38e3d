"""Outputs of a bundle's members on disk, so that an interrupted calibration goes on where it stopped.

A folder with a file for each `PART` images. Each file names what its outputs depend on; a folder of other
networks, seeds or arithmetic is refused, and nothing in it is overwritten.

Legend: N images, F findings, S scales, P findings that are present, h and w of a member's maps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cxrserve.ensemble.predictor import Predictor
from cxrserve.errors import RequestError
from cxrserve.files import replace_atomically
from training.calibration.outputs import ImageOutputs

# Images in a file: what a call that is killed loses at most.
PART: Final = 100


def key_of(predictor: Predictor, seed: int) -> str:
    """The SHA-256 of everything that the outputs for phantoms with seeds from `seed` on depend on."""
    contract = predictor.bundle.contract
    origin = {
        "seed": seed,
        "members": [member.sha256 for member in contract.members],
        "preprocessing": contract.preprocessing.model_dump(mode="json"),
        "arithmetic": str(predictor.arithmetic),
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()


def read_outputs(folder: Path, key: str) -> list[ImageOutputs]:
    """The outputs in the parts of `folder`, in order, up to the first part that is missing.

    Raises:
        RequestError: a part belongs to other networks, seeds or arithmetic, or cannot be read.
    """
    images: list[ImageOutputs] = []
    while (file := _part(folder, len(images))).is_file():
        try:
            with np.load(file) as stored:
                arrays = {name: stored[name] for name in stored.files}
            if str(arrays["key"]) != key:
                raise RequestError(
                    f"{file} holds outputs of other networks, seeds or arithmetic: give another folder."
                )
            images += _unpacked(arrays)
        except (OSError, ValueError, KeyError) as error:
            raise RequestError(
                f"{file} cannot be read ({error}): delete it, or give another folder."
            ) from error
    return images


def write_part(folder: Path, key: str, first: int, images: Sequence[ImageOutputs]) -> None:
    """Write the part that begins with image number `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = sorted(images[0].logits)
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "sizes_S": np.array(sizes),
        "logits_NSF": np.array([[image.logits[size] for size in sizes] for image in images]),
        "labels_NF": np.array([image.labels_F for image in images]),
        "study_N": np.array([image.study for image in images], np.int64),
    }
    for size in sizes:
        arrays[f"maps_{size}"] = np.concatenate([image.maps[size] for image in images])
    with replace_atomically(_part(folder, first)) as aside, aside.open("wb") as stream:
        np.savez(stream, **arrays)


def _unpacked(arrays: dict[str, Any]) -> list[ImageOutputs]:
    sizes, labels_NF = arrays["sizes_S"].tolist(), arrays["labels_NF"]
    ends_N = np.cumsum((labels_NF > 0.5).sum(axis=1)).tolist()
    images = []
    for number, (begin, end) in enumerate(zip([0, *ends_N], ends_N, strict=False)):
        images.append(
            ImageOutputs(
                logits={size: arrays["logits_NSF"][number, at] for at, size in enumerate(sizes)},
                maps={size: arrays[f"maps_{size}"][begin:end] for size in sizes},
                labels_F=labels_NF[number],
                study=int(arrays["study_N"][number]),
            )
        )
    return images


def _part(folder: Path, first: int) -> Path:
    return folder / f"outputs-{first:06d}.npz"
