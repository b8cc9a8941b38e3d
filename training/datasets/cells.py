"""Cells of a table: labels, paths, ages, sexes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from cxrserve.findings import NAMES
from training.datasets.faults import BadRow, DatasetError
from training.datasets.sample import NEGATIVE, POSITIVE, UNCERTAIN, Labels, Sex
from training.datasets.table import Cells, Table

LABEL_VALUES: Final[dict[str, float]] = {
    "": float("nan"),
    "1.0": POSITIVE,
    "0.0": NEGATIVE,
    "-1.0": UNCERTAIN,
    "1": POSITIVE,
    "0": NEGATIVE,
    "-1": UNCERTAIN,
}
_SEXES: Final[dict[str, Sex]] = {"f": "F", "female": "F", "m": "M", "male": "M"}
# NIH's first release writes 058Y, 003M, 012D; everybody else writes plain years.
_AGE: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)([YMWD]?)", re.IGNORECASE | re.ASCII)
_PER_YEAR: Final = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
OLDEST: Final = 120
# A whole number that pandas read as a float, as after a merge, and wrote back.
_FLOAT: Final = re.compile(r"(\d+)\.0+", re.ASCII)


class LabelColumns:
    """Columns of the 14 findings in a table; found by name, never by position.

    Args:
        spelling: this table's own name for a finding, where it has one.

    Raises:
        DatasetError: the table has none of the 14.
    """

    def __init__(self, table: Table, spelling: Mapping[str, str] | None = None) -> None:
        names = [(spelling or {}).get(name, name) for name in NAMES]
        self._columns = tuple(table.optional_column(name) for name in names)
        self.present = tuple(
            name for name, column in zip(NAMES, self._columns, strict=True) if column is not None
        )
        if not self.present:
            raise DatasetError(
                f"{table.path.name}: no column for any finding; expected some of {', '.join(NAMES)}"
            )

    def read(self, cells: Cells) -> Labels:
        """Labels of a row, float32 [14], read-only; NaN where the table has no such column.

        Raises:
            BadRow: a cell is neither 1, 0, -1 nor empty.
        """
        try:
            return frozen([LABEL_VALUES["" if c is None else cells[c].strip()] for c in self._columns])
        except KeyError as unknown:
            detail = f"{unknown.args[0]!r:.40}, expected 1, 0, -1 or nothing"
            raise BadRow("unknown label value", detail) from None


def frozen(values: list[float]) -> Labels:
    """`values` as a read-only float32 array: labels are shared by the images of a study."""
    labels_F = np.array(values, np.float32)
    labels_F.flags.writeable = False
    return labels_F


def relative_path(cell: str) -> str:
    """A path below the dataset's root, with "/".

    Raises:
        BadRow: it is absolute, climbs out with "..", or holds characters that no path should.
    """
    path = cell.strip().replace("\\", "/")
    parts = path.split("/")
    if not path or not path.isprintable():
        raise BadRow("malformed row", f"path {cell!r:.120}")
    if path.startswith(("/", "~")) or path[1:2] == ":" or ".." in parts:
        raise BadRow("path outside the dataset", f"{cell!r:.120}, expected a path below the dataset's folder")
    return "/".join(part for part in parts if part not in ("", "."))


def read_id(cell: str) -> str:
    """An id; 20000000.0, as pandas writes it after a merge, is 20000000."""
    cell = cell.strip()
    match = _FLOAT.fullmatch(cell)
    return match[1] if match else cell


def read_sex(cell: str) -> Sex:
    return _SEXES.get(cell.strip().lower(), "unknown")


def read_age(cell: str) -> float | None:
    """Years; None where the cell is empty or is impossible (NIH's first release has ages of 411)."""
    match = _AGE.fullmatch(cell.strip())
    if match is None:
        return None
    years = round(float(match[1]) / _PER_YEAR[match[2].upper()], 2)
    return years if years <= OLDEST else None


def read_size(cell: str) -> int | None:
    """Rows or columns; None where the cell holds no positive integer."""
    cell = cell.strip()
    return int(cell) or None if cell.isascii() and cell.isdigit() and len(cell) < 7 else None
