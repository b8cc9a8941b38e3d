"""NIH ChestX-ray14 (Wang et al. 2017): Data_Entry_2017*.csv, images*/, and the official lists where there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.findings import INDEX, NAMES
from training.datasets.cells import frozen, read_age, read_id, read_sex
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.options import ReadOptions
from training.datasets.sample import NEGATIVE, POSITIVE, UNCERTAIN, Labels, Part, Sample
from training.datasets.table import Cells, Table, required_table
from training.datasets.views import read_view

# NIH's labels and the finding that each is; None where none of the 14 is it.
FINDING_OF: Final[dict[str, str | None]] = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Effusion": "Pleural Effusion",
    "Emphysema": None,
    "Fibrosis": None,
    "Hernia": None,
    "Infiltration": "Lung Opacity",
    "Mass": "Lung Lesion",
    "No Finding": "No Finding",
    "Nodule": "Lung Lesion",
    "Pleural_Thickening": "Pleural Other",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
ANNOTATED: Final = tuple(name for name in NAMES if name in FINDING_OF.values())
# Kinds of Lung Opacity in CheXpert's hierarchy (Irvin et al. 2019). NIH lists them without Infiltration too.
_OPACITIES: Final = ("Atelectasis", "Consolidation", "Edema", "Lung Lesion", "Pneumonia")
_LISTS: Final[dict[str, Part]] = {"train_val_list.txt": "train", "test_list.txt": "test"}
_IMAGE: Final = re.compile(r"\w[\w.-]*\.png", re.ASCII)


def read(root: Path, options: ReadOptions) -> Manifest:
    """`root` holds Data_Entry_2017*.csv and images/, or images_001/images/ to images_012/images/."""
    table = Table(required_table(root, "Data_Entry_2017*"))
    paths = _image_paths(root)
    if not paths:
        raise DatasetError(f"{root}: no PNG in images*/ or images*/images/; unpack the archives there")
    faults: list[Fault] = []
    samples = table.samples(faults, _sample_maker(table, paths, _parts(root)))
    return new_manifest(source="nih", root=root, samples=samples, annotated=ANNOTATED, faults=faults)


def labels_of(names: str) -> Labels:
    """Labels of "Cardiomegaly|Effusion", float32 [14]: listed 1, else 0; NaN where NIH has no such label.

    Lung Opacity is uncertain where one of its kinds is listed and Infiltration is not.

    Raises:
        BadRow: a name is none of NIH's.
    """
    listed = [name.strip() for name in names.split("|")]
    unknown = [name for name in listed if name not in FINDING_OF]
    if unknown:
        raise BadRow("unknown label value", f"{unknown[0]!r:.60}, expected one of {', '.join(FINDING_OF)}")
    findings = {FINDING_OF[name] for name in listed}
    labels_F = np.full(len(NAMES), np.nan)
    for name in ANNOTATED:
        labels_F[INDEX[name]] = POSITIVE if name in findings else NEGATIVE
    if "Lung Opacity" not in findings and findings.intersection(_OPACITIES):
        labels_F[INDEX["Lung Opacity"]] = UNCERTAIN
    return frozen(labels_F.tolist())


def _sample_maker(table: Table, paths: dict[str, str], parts: dict[str, Part]) -> Callable[[Cells], Sample]:
    image, names, patient = (table.column(name) for name in ("Image Index", "Finding Labels", "Patient ID"))
    followup, age, sex = (table.column(name) for name in ("Follow-up #", "Patient Age", "Patient Gender"))
    view = table.column("View Position")

    def make(cells: Cells) -> Sample:
        name, patient_id = cells[image].strip(), read_id(cells[patient])
        if not _IMAGE.fullmatch(name) or not patient_id or not patient_id.isprintable():
            detail = f"image {name!r:.80}, patient {patient_id!r:.40}, expected 00000001_000.png and an id"
            raise BadRow("malformed row", detail)
        if name not in paths:
            raise BadRow("image file missing", name)
        # The table's width and height are those of the film before NIH scaled it to 1024: not the file's.
        return Sample(
            path=paths[name],
            patient_id=patient_id,
            study_id=f"{patient_id}/{read_id(cells[followup])}",
            image_id=name,
            labels_F=labels_of(cells[names]),
            view=read_view(cells[view]),
            sex=read_sex(cells[sex]),
            age=read_age(cells[age]),
            split=parts.get(name),
        )

    return make


def _image_paths(root: Path) -> dict[str, str]:
    """Each picture's path below `root`, by its name: the tables do not say which of the folders holds it."""
    paths: dict[str, str] = {}
    for top in sorted(path for path in root.glob("images*") if path.is_dir()):
        for folder in (top, top / "images"):
            if folder.is_dir():
                relative = folder.relative_to(root).as_posix()
                with os.scandir(folder) as entries:
                    names = [entry.name for entry in entries if entry.name.endswith(".png")]
                for name in names:
                    paths.setdefault(name, f"{relative}/{name}")
    return paths


def _parts(root: Path) -> dict[str, Part]:
    """The official parts by image name, from the lists that are there."""
    parts: dict[str, Part] = {}
    for name, part in _LISTS.items():
        if (root / name).is_file():
            parts.update(dict.fromkeys((root / name).read_text(encoding="utf-8").split(), part))
    return parts
