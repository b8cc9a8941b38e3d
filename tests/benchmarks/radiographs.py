"""Phantoms at the size most detectors make, 2500 × 3056: as JPEG, and as 12-bit DICOM."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2

from training.phantom import make_phantom
from training.phantom.files import write_dicom, write_jpeg
from training.phantom.phantom import Phantom

COLUMNS, ROWS = 2500, 3056


def native_phantom(seed: int, *, columns: int = COLUMNS, rows: int = ROWS) -> Phantom:
    """A phantom with its stored values enlarged to the native size, or another."""
    phantom = make_phantom(seed)
    stored_HW = phantom.radiograph.pixels_HW
    enlarged_HW = cv2.resize(stored_HW, (columns, rows), interpolation=cv2.INTER_CUBIC)
    low, high = int(stored_HW.min()), int(stored_HW.max())
    radiograph = dataclasses.replace(
        phantom.radiograph,
        pixels_HW=enlarged_HW.clip(low, high).astype(stored_HW.dtype),
        about=dataclasses.replace(phantom.radiograph.about, rows=rows, columns=columns),
    )
    return dataclasses.replace(phantom, radiograph=radiograph)


def native_images(folder: Path, count: int = 2) -> list[Path]:
    """`count` images of each kind in `folder`, JPEG and DICOM in turn; drawn once."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[Path] = []
    for seed in range(count):
        for suffix, write in ((".jpg", write_jpeg), (".dcm", write_dicom)):
            path = folder / f"native_{seed}{suffix}"
            if not path.exists():
                write(path, native_phantom(seed))
            images.append(path)
    return images
