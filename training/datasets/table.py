"""CSV tables, plain or gzipped: the one border where a damaged file becomes a DatasetError."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.sample import Sample

Cells = list[str]


class Table:
    """A CSV file with a header, read row by row; columns are found by name.

    Raises:
        DatasetError: the file cannot be read, or its header names a column twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as stream:
            self.header = tuple(name.strip() for name in next(csv.reader(stream), []))
        self._index = {name: index for index, name in enumerate(self.header) if name}
        named = [name for name in self.header if name]
        if len(self._index) < len(named):
            twice = sorted({name for name in named if named.count(name) > 1})
            raise DatasetError(f"{path.name}: the header names {', '.join(twice)} twice; remove one")

    def column(self, name: str) -> int:
        """The place of column `name`.

        Raises:
            DatasetError: there is none.
        """
        index = self.optional_column(name)
        if index is None:
            raise DatasetError(
                f"{self.path.name}: no column {name!r}; the header is {', '.join(self.header)[:300]!r}. "
                "Columns are separated by commas and found by their names"
            )
        return index

    def optional_column(self, name: str) -> int | None:
        return self._index.get(name)

    def rows(self, faults: list[Fault]) -> Iterator[tuple[int, Cells]]:
        """Line number and cells of every row with as many cells as the header; others go to `faults`."""
        with _opened(self.path) as stream:
            reader = csv.reader(stream)
            next(reader, None)
            for cells in reader:
                if len(cells) == len(self.header):
                    yield reader.line_num, cells
                elif cells:
                    detail = f"{len(cells)} cells, expected {len(self.header)}"
                    faults.append(self.fault(reader.line_num, BadRow("malformed row", detail)))

    def samples(self, faults: list[Fault], make: Callable[[Cells], Sample]) -> Iterator[Sample]:
        """`make` of every row; a row for which it raises `BadRow` goes to `faults` instead."""
        for line_number, cells in self.rows(faults):
            try:
                yield make(cells)
            except BadRow as bad:
                faults.append(self.fault(line_number, bad))

    def fault(self, line_number: int, bad: BadRow) -> Fault:
        return Fault(where=f"{self.path.name}:{line_number}", reason=bad.reason, detail=bad.detail)


def find_table(folder: Path, pattern: str) -> Path | None:
    """The newest file `pattern`.csv or .csv.gz in `folder` by name, the plain one first; None without one."""
    tables = [*folder.glob(f"{pattern}.csv"), *folder.glob(f"{pattern}.csv.gz")]
    return max(tables, key=lambda path: (path.name.removesuffix(".gz"), path.suffix != ".gz"), default=None)


def required_table(folder: Path, pattern: str) -> Path:
    """As `find_table`.

    Raises:
        DatasetError: there is none.
    """
    path = find_table(folder, pattern)
    if path is None:
        raise DatasetError(f"{folder}: no {pattern}.csv and no {pattern}.csv.gz there; check the path")
    return path


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        # utf-8-sig: Excel writes a byte order mark.
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as stream:
                yield stream
        else:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                yield stream
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path}: cannot be read ({error}); expected CSV in UTF-8, gzipped if it is called .gz. Fetch or "
            "save it again"
        ) from error
