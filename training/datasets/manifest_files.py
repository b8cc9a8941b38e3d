"""A manifest on disk: manifest.csv (samples), faults.csv (what was left out), manifest.json (the rest)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from cxrserve.files import write_atomically
from cxrserve.findings import NAMES
from training.datasets.cells import LABEL_VALUES, frozen
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import COLUMNS, Manifest, content_hash, row_of
from training.datasets.sample import Sample
from training.datasets.table import Cells, Table

FORMAT: Final = 1
_FAULT_COLUMNS: Final = ("where", "reason", "detail")
_LABELS_FROM: Final = len(COLUMNS) - len(NAMES)


def write_faults(manifest: Manifest, folder: Path) -> Path:
    """Write `faults.csv`, the rows of `manifest` that were left out; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    faults = ((fault.where, fault.reason, fault.detail) for fault in manifest.faults)
    _write_csv(folder / "faults.csv", _FAULT_COLUMNS, faults)
    return folder / "faults.csv"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest` into `folder`; manifest.json comes last, so that one that is there is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    _write_csv(folder / "manifest.csv", COLUMNS, map(row_of, manifest.samples))
    write_faults(manifest, folder)
    about = {
        "format": FORMAT,
        "source": manifest.source,
        "annotated": manifest.annotated,
        "images": len(manifest),
        "faults": len(manifest.faults),
        "sha256": manifest.sha256,
    }
    write_atomically(folder / "manifest.json", json.dumps(about, indent=2) + "\n")


def read_manifest(folder: Path, root: Path) -> Manifest:
    """The manifest in `folder`, its images below `root`.

    Raises:
        DatasetError: it is incomplete, of another format, or its content does not have its hash.
    """
    about = _about(folder / "manifest.json")
    table, faults = Table(folder / "manifest.csv"), Table(folder / "faults.csv")
    if table.header != COLUMNS or faults.header != _FAULT_COLUMNS:
        raise DatasetError(f"{folder}: manifest.csv or faults.csv has another header; prepare the data again")
    bad: list[Fault] = []
    samples = tuple(table.samples(bad, _sample))
    annotated = tuple(str(name) for name in about["annotated"])
    sha256 = content_hash(about["source"], annotated, samples)
    if bad or sha256 != about["sha256"]:
        raise DatasetError(
            f"{folder}/manifest.csv was changed: its SHA-256 is {sha256}, manifest.json says "
            f"{about['sha256']}; prepare the data again"
        )
    return Manifest(
        source=about["source"],
        root=root,
        samples=samples,
        annotated=annotated,
        faults=tuple(Fault(where=cells[0], reason=cells[1], detail=cells[2]) for _, cells in faults.rows([])),  # type: ignore[arg-type]
        sha256=sha256,
    )


def _about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        if about["format"] != FORMAT or not about.keys() >= {"source", "annotated", "sha256"}:
            raise ValueError(f"format {about['format']!r}, expected {FORMAT}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{path}: no manifest that can be used ({error}); prepare the data again"
        ) from error
    return about


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _sample(cells: Cells) -> Sample:
    path, patient_id, study_id, image_id, view, sex, age, rows, columns, split = cells[:_LABELS_FROM]
    # Only the type of a cell is checked again: the hash shows whether they are as they were written.
    try:
        labels_F = frozen([LABEL_VALUES[cell] for cell in cells[_LABELS_FROM:]])
        numbers = float(age or "nan"), int(rows or 0), int(columns or 0)
    except (KeyError, ValueError) as error:
        raise BadRow("malformed row", str(error)) from None
    return Sample(
        path=path,
        patient_id=patient_id,
        study_id=study_id,
        image_id=image_id,
        labels_F=labels_F,
        view=view,  # type: ignore[arg-type]
        sex=sex,  # type: ignore[arg-type]
        age=numbers[0] if age else None,
        rows=numbers[1] or None,
        columns=numbers[2] or None,
        split=split or None,  # type: ignore[arg-type]
    )
