"""A folder with a CSV: a hospital's own films, or phantoms.

Columns, found by name in any case: `path` (below the CSV's folder) and `patient` are needed; `study`, `view`
(AP, PA, lateral…), `sex`, `age`, `rows`, `columns`, `split` (train, validate, test) and any of the findings
may be there; `patient_id`, `study_id` and `view_position` will do as well. A finding without a column is
masked in training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cxrserve.findings import NAMES, canonical
from training.datasets.cells import LabelColumns, read_age, read_sex, read_size, relative_path
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.options import ImageFolder, ReadOptions
from training.datasets.sample import Part, Sample
from training.datasets.table import Cells, Table
from training.datasets.views import read_view

OPTIONAL: Final = ("study", "view", "sex", "age", "rows", "columns", "split")
_ALSO: Final = {"patient_id": "patient", "study_id": "study", "view_position": "view"}
_PARTS: Final[dict[str, Part | None]] = {
    "": None,
    "train": "train",
    "validate": "validate",
    "validation": "validate",
    "valid": "validate",
    "val": "validate",
    "test": "test",
}
_logger = logging.getLogger(__name__)


def read(path: Path, options: ReadOptions) -> Manifest:
    """`path` is the CSV, or a folder that holds just one."""
    return _read(path, options, "folder")


def read_phantoms(path: Path, options: ReadOptions) -> Manifest:
    """Phantoms written to disk: the same form, and known by their own name."""
    return _read(path, options, "phantoms")


def _read(path: Path, options: ReadOptions, source: str) -> Manifest:
    table = Table(_csv(path))
    spelling = _spelling(table)
    known = {"", "path", "patient", *OPTIONAL, *NAMES}
    if ignored := sorted(spelling[name] for name in spelling.keys() - known):
        _logger.warning("%s: unknown columns are passed over: %s", table.path.name, ", ".join(ignored))
    labels = LabelColumns(table, spelling)
    faults: list[Fault] = []
    root = table.path.parent
    make = _sample_maker(table, spelling, labels, ImageFolder(str(root), options.check_files))
    samples = table.samples(faults, make)
    return new_manifest(source=source, root=root, samples=samples, annotated=labels.present, faults=faults)


def _sample_maker(
    table: Table, spelling: dict[str, str], labels: LabelColumns, folder: ImageFolder
) -> Callable[[Cells], Sample]:
    path, patient = (table.column(spelling.get(name, name)) for name in ("path", "patient"))
    columns = {name: table.column(spelling[name]) for name in OPTIONAL if name in spelling}

    def make(cells: Cells) -> Sample:
        values = {name: cells[column].strip() for name, column in columns.items()}
        relative, patient_id = relative_path(cells[path]), cells[patient].strip()
        if not patient_id:
            raise BadRow("malformed row", "no patient: without one, a split by patient is not possible")
        if not f"{patient_id}{values.get('study', '')}".isprintable():
            raise BadRow("malformed row", "patient or study holds a character that cannot be printed")
        return Sample(
            path=folder.image(relative),
            patient_id=patient_id,
            # Study numbers are unique for one patient only; without one, each image is its own study.
            study_id=f"{patient_id}/{values.get('study') or relative}",
            image_id=relative,
            labels_F=labels.read(cells),
            view=read_view(values.get("view", "")),
            sex=read_sex(values.get("sex", "")),
            age=read_age(values.get("age", "")),
            rows=read_size(values.get("rows", "")),
            columns=read_size(values.get("columns", "")),
            split=_part(values.get("split", "")),
        )

    return make


def _part(cell: str) -> Part | None:
    try:
        return _PARTS[cell.lower()]
    except KeyError:
        raise BadRow(
            "malformed row", f"split {cell!r:.40}, expected train, validate, test or nothing"
        ) from None


def _spelling(table: Table) -> dict[str, str]:
    """The table's own name for each column that it has, by the name that it has here."""
    spelling: dict[str, str] = {}
    for name in table.header:
        other = spelling.setdefault(_known(name), name)
        if other != name:
            raise DatasetError(f"{table.path.name}: {other!r} and {name!r} are the same column; remove one")
    return spelling


def _known(column: str) -> str:
    """The name that `column` has here: a finding's one spelling, or lower case."""
    try:
        return canonical(column)
    except ValueError:
        return _ALSO.get(column.lower(), column.lower())


def _csv(path: Path) -> Path:
    if not path.is_dir():
        return path
    tables = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")])
    if len(tables) != 1:
        names = ", ".join(table.name for table in tables[:5]) or "none"
        raise DatasetError(f"{path}: expected one CSV file there, found {names}; name the CSV itself")
    return tables[0]
