"""Labels beside the films of `cxrserve predict`, and the AUC of the answers by finding.

A table `labels.csv` in a folder that was named, or beside a film that was named, needs no option: using it
costs nothing, and changes no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.reports.answer import Answer
from cxrserve.reports.ranking import auc_interval, placements
from cxrserve.site.labels import read_labels

LABELS_FILE: Final = "labels.csv"


class LabelledFilms:
    """The films that a table of labels knows, with their answers.

    Args:
        paths: the files and folders that were named.
        console: for the reason why a table is not used.
    """

    def __init__(self, paths: Sequence[Path], console: Console) -> None:
        self._rows: Final[dict[Path, tuple[str, list[float]]]] = {}
        self._seen: Final[dict[Path, list[float]]] = {}
        self._tables: Final[set[Path]] = set()
        folders = dict.fromkeys(path if path.is_dir() else path.parent for path in paths)
        for table in (folder / LABELS_FILE for folder in folders):
            if table.is_file():
                try:
                    self._read(table)
                except RequestError as error:
                    console.print(f"labels not used: {error.detail}", style="dim", markup=False)

    def _read(self, table: Path) -> None:
        labels = read_labels(table)
        for file, patient, row_F in zip(
            labels.files, labels.patients, labels.labels_NF.tolist(), strict=True
        ):
            self._rows[(table.parent / file).resolve()] = (patient, row_F)
        self._tables.add(table.resolve())

    def is_table(self, path: Path) -> bool:
        """True for a table that is used: it is no film."""
        return path.resolve() in self._tables

    def add(self, film: Path, answer: Answer) -> None:
        """Note the answer for a film; one without a row is left out."""
        known = film.resolve()
        if known in self._rows:
            self._seen[known] = [
                np.nan if row.probability is None else row.probability for row in answer.findings
            ]

    def show(self, console: Console) -> None:
        """Print the AUC of each finding, where films with and without any of them were answered."""
        if not self._seen:
            return
        scores_NF = np.array(list(self._seen.values()))
        labels_NF = np.array([self._rows[film][1] for film in self._seen])
        _, patient_N = np.unique([self._rows[film][0] for film in self._seen], return_inverse=True)
        table = Table(header_style="dim", title_justify="left")
        table.title = f"AUC by finding, on {len(self._seen)} films of {LABELS_FILE}"
        table.caption = "no interval: too few films, or all ranked right; then the AUC says little"
        table.caption_justify = "left"
        table.add_column("finding", no_wrap=True)
        for heading in ("with", "without", "AUC", "95 % interval"):
            table.add_column(heading, justify="right")
        ranked = False
        for index, name in enumerate(NAMES):
            known_N = ~np.isnan(scores_NF[:, index]) & ~np.isnan(labels_NF[:, index])
            positive_N = labels_NF[known_N, index] > 0.5
            components = placements(scores_NF[known_N, index], positive_N, patient_N[known_N])
            found = None if components is None else auc_interval(components)
            ranked = ranked or found is not None
            table.add_row(
                name,
                str(int(positive_N.sum())),
                str(int((~positive_N).sum())),
                "–" if found is None else f"{found.value:.3f}",
                "–" if found is None or found.low is None else f"{found.low:.3f} to {found.high:.3f}",
            )
        if ranked:
            console.print(table)
