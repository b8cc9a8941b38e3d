"""The table of labels: a CSV file with a row for each film."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES

# Names of the same columns in other tables, as `cxrserve phantoms` and dataset manifests write them.
_ALIASES: Final = {"path": "file", "patient_id": "patient"}
_NOT_READ: Final = frozenset({"study_id", "view_position"})
_PRESENT: Final = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan}


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of films.

    Attributes:
        files: paths as in the table.
        labels_NF: float64 [N, 14], 1 present, 0 absent, NaN unknown.
        patients: for each film; the file where the table has no column `patient`.
        stations: for each film; "" where the table has no column `station`.
    """

    files: tuple[str, ...]
    labels_NF: NDArray[np.float64]
    patients: tuple[str, ...]
    stations: tuple[str, ...]


def read_labels(path: Path) -> Labels:
    """Read the columns `file`, `patient` and `station` (both optional), and findings: 1, 0 or empty.

    The tables of `cxrserve phantoms`, with `path` and `patient_id`, are read as well.

    Raises:
        RequestError: it cannot be read, a column is missing or unknown, or a cell is none of the three.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [_ALIASES.get(column, column) for column in reader.fieldnames or ()]
            rows, columns = list(reader), list(reader.fieldnames)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"the table of labels {path} cannot be read: {type(error).__name__}") from None
    if "file" not in columns:
        raise RequestError(f"{path} has no column `file`; it has {', '.join(columns) or 'none'}")
    findings = [column for column in columns if column not in {"file", "patient", "station", *_NOT_READ}]
    if unknown := [column for column in findings if column not in INDEX]:
        raise RequestError(f"{path}: {', '.join(unknown)} are no findings. They are: {', '.join(NAMES)}")
    labels_NF = np.full((len(rows), len(NAMES)), np.nan)
    for position, row in enumerate(rows):
        for finding in findings:
            cell = (row[finding] or "").strip()
            if cell not in _PRESENT:
                raise RequestError(
                    f"{path}, line {position + 2}, {finding}: {cell[:20]!r}. Write 1 for present, 0 for "
                    "absent, nothing for unknown."
                )
            labels_NF[position, INDEX[finding]] = _PRESENT[cell]
    return Labels(
        files=tuple((row["file"] or "").strip() for row in rows),
        labels_NF=labels_NF,
        patients=tuple((row.get("patient") or row["file"] or "").strip() for row in rows),
        stations=tuple((row.get("station") or "").strip() for row in rows),
    )
