"""CheXpert, at full size or small: train.csv and valid.csv, labels for each image, patient in the path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from training.datasets.cells import LabelColumns, read_age, read_sex, relative_path
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.options import ImageFolder, ReadOptions
from training.datasets.sample import Part, Sample, View
from training.datasets.table import Cells, Table, find_table
from training.datasets.views import read_view

# valid.csv holds the 234 films that three radiologists labelled; the test set proper is not published with it
# (Irvin et al. 2019). So it is what a model is tested on, and validation is drawn from train.csv.
_TABLES: Final[dict[str, Part]] = {"train": "train", "valid": "test"}
_PATH: Final = re.compile(
    r"(?:(?P<release>CheXpert-v[\d.]+(?P<small>-small)?)/)?"
    r"(?P<below>(?:train|valid)/(?P<patient>patient\d+)/(?P<study>study\d+)/[^/]+)",
    re.ASCII,
)


def read(root: Path, options: ReadOptions) -> Manifest:
    """`root` holds train.csv, valid.csv or both, and the folders train/ and valid/."""
    paths = {part: find_table(root, name) for name, part in _TABLES.items()}
    tables = {part: Table(path) for part, path in paths.items() if path is not None}
    if not tables:
        raise DatasetError(
            f"{root}: neither train.csv nor valid.csv there; expected the folder CheXpert-v1.0"
        )
    faults: list[Fault] = []
    folder = ImageFolder(str(root), options.check_files)
    labels = {part: LabelColumns(table) for part, table in tables.items()}
    samples: Iterable[Sample] = chain.from_iterable(
        table.samples(faults, _sample_maker(table, labels[part], folder, part))
        for part, table in tables.items()
    )
    return new_manifest(
        source="chexpert-small" if _is_small(tables.values()) else "chexpert",
        root=root,
        samples=samples,
        annotated=next(iter(labels.values())).present,
        faults=faults,
    )


def _sample_maker(
    table: Table, labels: LabelColumns, folder: ImageFolder, part: Part
) -> Callable[[Cells], Sample]:
    path, sex, age = table.column("Path"), table.column("Sex"), table.column("Age")
    side, projection = table.column("Frontal/Lateral"), table.column("AP/PA")

    def make(cells: Cells) -> Sample:
        match = _PATH.fullmatch(relative_path(cells[path]))
        if match is None:
            expected = "train/patient00001/study1/view1_frontal.jpg"
            raise BadRow("malformed row", f"path {cells[path]!r:.120}, expected CheXpert-v1.0/{expected}")
        below = match["below"]
        return Sample(
            path=folder.image(below),
            patient_id=match["patient"],
            study_id=f"{match['patient']}/{match['study']}",
            image_id=below,
            labels_F=labels.read(cells),
            view=_view(cells[side], cells[projection]),
            sex=read_sex(cells[sex]),
            age=read_age(cells[age]),
            split=part,
        )

    return make


def _view(side: str, projection: str) -> View:
    """The side rules: a few frontal films are marked LL or RL, a decubitus position here."""
    view = read_view(projection)
    if side.strip().lower() == "frontal":
        return view if view in ("AP", "PA") else "frontal"
    return read_view(side)


def _is_small(tables: Iterable[Table]) -> bool:
    """Whether the first row of the first table names the release of 390 × 320 pixels."""
    for table in tables:
        path = table.column("Path")
        for _, cells in table.rows([]):
            match = _PATH.fullmatch(cells[path])
            return match is not None and match["small"] is not None
    return False
