"""Reading any dataset by its specification `kind:path`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from training.datasets.chexpert import read as read_chexpert
from training.datasets.chexpert_plus import read as read_chexpert_plus
from training.datasets.faults import DatasetError, check_share
from training.datasets.folder import read as read_folder
from training.datasets.folder import read_phantoms
from training.datasets.manifest import Manifest
from training.datasets.mimic import read_dicom_tree, read_jpg
from training.datasets.nih import read as read_nih
from training.datasets.options import ReadOptions

Reader = Callable[[Path, ReadOptions], Manifest]

READERS: Final[dict[str, Reader]] = {
    "mimic-cxr-jpg": read_jpg,
    "mimic-cxr": read_dicom_tree,
    "chexpert": read_chexpert,
    "chexpert-plus": read_chexpert_plus,
    "nih": read_nih,
    "folder": read_folder,
    "phantoms": read_phantoms,
}


def read_dataset(spec: str, options: ReadOptions | None = None) -> Manifest:
    """The manifest of the dataset that `spec` names, e.g. "mimic-cxr-jpg:/data/mimic-cxr-jpg".

    Raises:
        DatasetError: no such kind or path; a table is missing or damaged; too many rows are bad.
    """
    options = options or ReadOptions()
    manifest = list_dataset(spec, options)
    check_share(manifest.faults, len(manifest), options.max_bad_share, spec)
    return manifest


def list_dataset(spec: str, options: ReadOptions) -> Manifest:
    """As `read_dataset`, however many rows are bad.

    Raises:
        DatasetError: no such kind or path; a table is missing or damaged.
    """
    kind, path = parse_spec(spec)
    return READERS[kind](path, options)


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
    location = Path(path).expanduser()
    if not location.exists():
        raise DatasetError(f"dataset {spec[:200]!r}: there is nothing at {location}; check the path")
    return kind, location
