"""The scores and labels of a site's films, in one order.

Legend: N films, F findings, S streams of the watch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.site.labels import Labels

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Films:
    """Films that were read with the bundle alone.

    Attributes:
        files: their paths below the folder.
        scores_NF: float64 [N, 14], the stack's values; NaN where a film was refused or the finding is not
            supported.
        values_NS: float64 [N, S], what the watch sees of each film.
        views: view of each film, as the watch names it.
        stations: name of each film's station; "other" without one.
        labels_NF: float64 [N, 14], 1, 0, NaN.
        patients: of each film.
    """

    files: tuple[str, ...]
    scores_NF: Floats
    values_NS: Floats
    views: tuple[str, ...]
    stations: tuple[str, ...]
    labels_NF: Floats
    patients: tuple[str, ...]

    def labelled(self, labels: Labels) -> Self:
        """The same films with their labels; a film without a row stays unlabelled.

        Raises:
            RequestError: no row names any of the films, or one names two.
        """
        rows = {PurePath(file).as_posix(): row for row, file in enumerate(labels.files)}
        if len(rows) < len(labels.files):
            raise RequestError("the table of labels names a film twice. Keep one row for each film.")
        found = [rows.get(file, rows.get(PurePath(file).name)) for file in self.files]
        if all(row is None for row in found):
            raise RequestError(
                "no row of the table of labels names one of the films. Write paths below the folder of "
                f"films, or file names, in the column `file`; the first film is {self.files[0]}"
            )
        nothing = np.full(len(NAMES), np.nan)
        return type(self)(
            files=self.files,
            scores_NF=self.scores_NF,
            values_NS=self.values_NS,
            views=self.views,
            stations=tuple(
                station if row is None else labels.stations[row] or station
                for row, station in zip(found, self.stations, strict=True)
            ),
            labels_NF=np.array([nothing if row is None else labels.labels_NF[row] for row in found]),
            patients=tuple(
                file if row is None else labels.patients[row]
                for row, file in zip(found, self.files, strict=True)
            ),
        )
