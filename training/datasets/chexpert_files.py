"""Files of CheXpert: its tables and images in each layout in which Stanford ships it.

| layout | tables | images |
|---|---|---|
| one folder, full size or small | train.csv, valid.csv | train/patient00001/…, valid/… |
| four batches (AIMI) | in "CheXpert-v1.0 batch 1 (validate & csv)" | "… batch 2 (train 1)"/patient00001/… |
| CheXlocalize | CheXpert/val_labels.csv, test_labels.csv | CheXpert/val/…, CheXpert/test/… |
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from training.datasets.cells import relative_path
from training.datasets.faults import BadRow
from training.datasets.options import ImageFolder
from training.datasets.table import find_table

_BATCH: Final = re.compile(r"CheXpert-v[\d.]+ ?batch ?\d+\b.*", re.IGNORECASE | re.ASCII)
_PATH: Final = re.compile(
    r"(?:(?P<release>CheXpert(?:-v[\d.]+)?(?P<small>-small)?)/)?"
    r"(?P<part>train|valid|val|test)/(?P<patient>patient\d+)/(?P<study>study\d+)/"
    r"(?P<file>view\d+_(?P<side>frontal|lateral)\.\w+|[^/]+)",
    re.ASCII,
)
# CheXlocalize calls the folder of validation images "val".
_ALSO: Final = {"valid": ("valid", "val"), "val": ("val", "valid")}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePath:
    """A path of a table.

    Attributes:
        image_id: "train/patient00001/study1/view1_frontal.jpg", the same in every layout.
        side: "frontal" or "lateral" by the file's name, "" where it does not say.
    """

    part: str
    patient: str
    study: str
    file: str
    side: str
    small: bool

    @property
    def image_id(self) -> str:
        """The path below the release, in its first release's names."""
        part = "valid" if self.part == "val" else self.part
        return f"{part}/{self.patient}/{self.study}/{self.file}"


def read_path(cell: str) -> ImagePath:
    """The parts of a path of a table.

    Raises:
        BadRow: it is none of CheXpert's.
    """
    match = _PATH.fullmatch(relative_path(cell))
    if match is None:
        expected = "train/patient00001/study1/view1_frontal.jpg"
        raise BadRow("malformed row", f"path {cell!r:.120}, expected CheXpert-v1.0/{expected}")
    return ImagePath(
        part=match["part"],
        patient=match["patient"],
        study=match["study"],
        file=match["file"],
        side=match["side"] or "",
        small=match["small"] is not None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The folders of one copy of CheXpert.

    Attributes:
        root: the folder that image paths start from.
        batches: names of the folders of batches below it; none in the other layouts.
        top: the folder of train/, valid/ and test/, relative to the root; "" where it is the root.
    """

    root: Path
    batches: tuple[str, ...] = ()
    top: str = ""
    _batch_of: dict[str, str] = field(default_factory=dict)

    def table(self, name: str) -> Path | None:
        """The table `name`.csv or .csv.gz, None without one."""
        folders = [self.root / self.top, *(self.root / batch for batch in self.batches)]
        return next((path for folder in folders if (path := find_table(folder, name))), None)

    def image(self, image: ImagePath, check: bool) -> str:
        """The path of `image` below the root.

        Raises:
            BadRow: there is no such file, and files are checked.
        """
        for path in self._places(image):
            if os.path.isfile(f"{self.root}/{path}"):
                return path
        first = self._places(image)[0]
        return ImageFolder(str(self.root), check).image(first)

    def _places(self, image: ImagePath) -> list[str]:
        top = f"{self.top}/" if self.top else ""
        below = f"{image.patient}/{image.study}/{image.file}"
        places = [f"{top}{part}/{below}" for part in _ALSO.get(image.part, (image.part,))]
        batch = self._batch_of.get(f"{image.part}/{image.patient}") or self._batch_of.get(image.patient)
        return [f"{batch}/{below}", *places] if batch else places


def find_layout(root: Path) -> Layout:
    """The layout of the copy at `root`, which may be one of the folders of batches itself."""
    if _BATCH.fullmatch(root.name) and not (root / "train").is_dir():
        root = root.parent
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    batches = tuple(name for name in folders if _BATCH.fullmatch(name))
    if batches:
        return Layout(root=root, batches=batches, _batch_of=_patients(root, batches))
    nested = [name for name in folders if name.startswith("CheXpert")]
    if not any(root.glob("*.csv*")) and len(nested) == 1:
        return Layout(root=root, top=nested[0])
    return Layout(root=root)


def _patients(root: Path, batches: tuple[str, ...]) -> dict[str, str]:
    """The folder that holds each patient's images: by patient, or by part and patient."""
    folder_of: dict[str, str] = {}
    for batch in batches:
        for part in ("", "train/", "valid/", "test/"):
            folder = root / batch / part
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in entries if entry.name.startswith("patient")]
                place = f"{batch}/{part}".rstrip("/")
                folder_of.update({f"{part}{name}": place for name in names})
    return folder_of
