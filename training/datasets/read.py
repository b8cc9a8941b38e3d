"""Reading any dataset by its specification `kind:path`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from training.datasets import chexpert, folder, mimic, nih
from training.datasets.faults import DatasetError, check_share
from training.datasets.manifest import Manifest
from training.datasets.options import ReadOptions

Reader = Callable[[Path, ReadOptions], Manifest]

READERS: Final[dict[str, Reader]] = {
    "mimic-cxr-jpg": mimic.read_jpg,
    "mimic-cxr": mimic.read_dicom_tree,
    "chexpert": chexpert.read,
    "nih": nih.read,
    "folder": folder.read,
    "phantoms": folder.read_phantoms,
}


def read_dataset(spec: str, options: ReadOptions | None = None) -> Manifest:
    """The manifest of the dataset that `spec` names, e.g. "mimic-cxr-jpg:/data/mimic-cxr-jpg".

    Raises:
        DatasetError: no such kind or path; a table is missing or damaged; too many rows are bad.
    """
    options = options or ReadOptions()
    kind, path = parse_spec(spec)
    manifest = READERS[kind](path, options)
    check_share(manifest.faults, len(manifest), options.max_bad_share, spec)
    return manifest


def parse_spec(spec: str) -> tuple[str, Path]:
    """Kind and path of "kind:path".

    Raises:
        DatasetError: the kind is unknown, or there is nothing at the path.
    """
    kind, colon, path = spec.partition(":")
    if kind not in READERS or not colon or not path:
        raise DatasetError(
            f"dataset {spec[:200]!r}: expected kind:path with the kind one of {', '.join(READERS)}"
        )
    place = Path(path).expanduser()
    if not place.exists():
        raise DatasetError(f"dataset {spec[:200]!r}: there is nothing at {place}; check the path")
    return kind, place
