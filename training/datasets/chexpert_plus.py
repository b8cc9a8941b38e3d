"""CheXpert Plus (Chambon et al. 2024): df_chexpert_plus_*.csv, PNG/, labels as JSON lines.

The patients are those of CheXpert. Labels are CheXbert's, of the report's impression, its findings or all of
it: chexbert_labels/impression_fixed.json and so on, one JSON object on a line, with the path of the image.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.findings import NAMES
from training.datasets.cells import frozen, read_age, read_sex
from training.datasets.chexpert import read_side
from training.datasets.chexpert_files import read_path
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.options import ImageFolder, ReadOptions
from training.datasets.sample import Labels, Part, Sample
from training.datasets.table import Cells, Table, required_table

# The 200 validation studies of CheXpert are the only images that are not for training: they test.
_PARTS: Final[dict[str, Part]] = {"train": "train", "valid": "test"}
_PICTURES: Final = ("PNG", "PNG/PNG", "PNGs", ".")


def read(root: Path, options: ReadOptions) -> Manifest:
    """`root` holds df_chexpert_plus_*.csv, chexbert_labels/ and PNG/."""
    table = Table(required_table(root, "df_chexpert_plus_*"))
    faults: list[Fault] = []
    labels = _labels(root, options.section, faults)
    annotated = tuple(name for name, known in zip(NAMES, _known(labels), strict=True) if known)
    if not annotated:
        raise DatasetError(f"{root}: the labels of {options.section} say nothing of any finding")
    samples = table.samples(faults, _sample_maker(table, labels, root, options))
    return new_manifest(
        source="chexpert-plus", root=root, samples=samples, annotated=annotated, faults=faults
    )


def _sample_maker(
    table: Table, labels: dict[str, Labels], root: Path, options: ReadOptions
) -> Callable[[Cells], Sample]:
    path, split = table.column("path_to_image"), table.optional_column("split")
    names = ("sex", "age", "frontal_lateral", "ap_pa")
    columns = {name: table.optional_column(name) for name in names}
    pictures = next((name for name in _PICTURES if _has_parts(root / name)), _PICTURES[0])
    folder = ImageFolder(str(root), options.check_files)

    def make(cells: Cells) -> Sample:
        image = read_path(cells[path])
        labels_F = labels.get(image.image_id)
        if labels_F is None:
            raise BadRow("study missing from the label table", image.image_id)
        sex, age, side, projection = ("" if column is None else cells[column] for column in columns.values())
        below = f"{image.part}/{image.patient}/{image.study}/{Path(image.file).stem}.png"
        return Sample(
            path=folder.image(below if pictures == "." else f"{pictures}/{below}"),
            patient_id=image.patient,
            study_id=f"{image.patient}/{image.study}",
            image_id=image.image_id,
            labels_F=labels_F,
            view=read_side(side or image.side, projection),
            sex=read_sex(sex),
            age=read_age(age),
            split=_PARTS.get((cells[split] if split is not None else image.part).strip().lower()),
        )

    return make


def _has_parts(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "valid").is_dir()


def _labels(root: Path, section: str, faults: list[Fault]) -> dict[str, Labels]:
    """Labels by image id.

    Raises:
        DatasetError: the file is not there or cannot be read.
    """
    name = f"{section}_fixed.json"
    path = next((path for path in (root / "chexbert_labels" / name, root / name) if path.is_file()), None)
    if path is None:
        raise DatasetError(f"{root}: no chexbert_labels/{name} there; expected the labels of CheXpert Plus")
    labels: dict[str, Labels] = {}
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    entry = json.loads(line)
                    labels[read_path(str(entry["path_to_image"])).image_id] = _read(entry)
                except (ValueError, KeyError, TypeError) as error:
                    bad = f"{type(error).__name__}: {error}"[:120]
                    faults.append(Fault(where=f"{name}:{number}", reason="malformed row", detail=bad))
                except BadRow as row:
                    faults.append(Fault(where=f"{name}:{number}", reason=row.reason, detail=row.detail))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); fetch it again") from error
    return labels


def _read(entry: dict[str, object]) -> Labels:
    """Labels of one line; null is "not mentioned".

    Raises:
        BadRow: a value is neither 1, 0, -1 nor null.
    """
    values: list[float] = []
    for name in NAMES:
        value = entry.get(name)
        if value is None or value != value:
            values.append(float("nan"))
        elif isinstance(value, (int, float)) and value in (1, 0, -1):
            values.append(float(value))
        else:
            raise BadRow("unknown label value", f"{value!r:.40}, expected 1, 0, -1 or null")
    return frozen(values)


def _known(labels: dict[str, Labels]) -> list[bool]:
    """For each finding whether any image is labelled with it."""
    known_F = np.zeros(len(NAMES), np.bool_)
    for labels_F in labels.values():
        known_F |= ~np.isnan(labels_F)
    return [bool(known) for known in known_F]
