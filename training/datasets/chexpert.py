"""CheXpert, at full size or small: labels for each image, patient in the path.

| table | part |
|---|---|
| train.csv, or by `labeler` train_cheXbert.csv or train_visualCheXbert.csv | train |
| valid.csv, val_labels.csv: 234 images labelled by three radiologists | test; beside a test table validate |
| test_labels.csv: the 668 images of the challenge's test set, labelled by radiologists | test |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from training.datasets.cells import LabelColumns, read_age, read_sex
from training.datasets.chexpert_files import Layout, find_layout, read_path
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.options import Labeler, ReadOptions
from training.datasets.sample import Part, Sample, View
from training.datasets.table import Cells, Table
from training.datasets.views import read_view

_TRAINING: Final[dict[Labeler, str]] = {
    "chexpert": "train",
    "chexbert": "train_cheXbert",
    "visualchexbert": "train_visualCheXbert",
}
_VALIDATION: Final = ("valid", "val_labels")
_TEST: Final = ("test_labels", "test")
_logger = logging.getLogger(__name__)


def read(root: Path, options: ReadOptions) -> Manifest:
    """`root` holds the tables and the images in one of the layouts of `chexpert_files`."""
    layout = find_layout(root)
    tables = _tables(layout, options)
    faults: list[Fault] = []
    labels = [LabelColumns(table) for table, _ in tables]
    samples: Iterable[Sample] = chain.from_iterable(
        table.samples(faults, _sample_maker(table, columns, layout, part, options.check_files))
        for (table, part), columns in zip(tables, labels, strict=True)
    )
    return new_manifest(
        source="chexpert-small" if _is_small([table for table, _ in tables]) else "chexpert",
        root=layout.root,
        samples=samples,
        annotated=labels[0].present,
        faults=faults,
    )


def _tables(layout: Layout, options: ReadOptions) -> list[tuple[Table, Part]]:
    """The tables that are there with the part that each is, the training part first."""
    if options.labeler not in _TRAINING:
        known = ", ".join(_TRAINING)
        raise DatasetError(f"CheXpert has no labels of {options.labeler}; set labeler to one of {known}")
    training = layout.table(_TRAINING[options.labeler])
    others = [labeler for labeler, name in _TRAINING.items() if layout.table(name)]
    if training is None and others:
        raise DatasetError(
            f"{layout.root}: no {_TRAINING[options.labeler]}.csv there, but labels of {others[0]}; choose "
            f"them with --read labeler={others[0]}"
        )
    validation = _first(layout, _VALIDATION)
    test = _first(layout, _TEST) if options.official_test else None
    if training is None and validation is None and test is None:
        raise DatasetError(
            f"{layout.root}: neither train.csv nor valid.csv nor test_labels.csv there; expected the folder "
            "CheXpert-v1.0, or the folder that holds its batches"
        )
    if test is not None and validation is not None:
        _logger.warning(
            "%s is the test part, and %s validates; --read official_test=false makes the latter the test",
            test.name,
            validation.name,
        )
    # Irvin et al. 2019 kept the test set to themselves: without it, a model is tested on valid.csv, and
    # validation is drawn from train.csv.
    parts: list[tuple[Path | None, Part]] = [
        (training, "train"),
        (validation, "test" if test is None else "validate"),
        (test, "test"),
    ]
    return [(Table(path), part) for path, part in parts if path is not None]


def _first(layout: Layout, names: Iterable[str]) -> Path | None:
    return next((path for name in names if (path := layout.table(name))), None)


def _sample_maker(
    table: Table, labels: LabelColumns, layout: Layout, part: Part, check: bool
) -> Callable[[Cells], Sample]:
    path = table.column("Path")
    columns = {name: table.optional_column(name) for name in ("Sex", "Age", "Frontal/Lateral", "AP/PA")}

    def make(cells: Cells) -> Sample:
        image = read_path(cells[path])
        sex, age, side, projection = ("" if column is None else cells[column] for column in columns.values())
        return Sample(
            path=layout.image(image, check),
            patient_id=image.patient,
            study_id=f"{image.patient}/{image.study}",
            image_id=image.image_id,
            labels_F=labels.read(cells),
            view=read_side(side or image.side, projection),
            sex=read_sex(sex),
            age=read_age(age),
            split=part,
        )

    return make


def read_side(side: str, projection: str) -> View:
    """The view by side and projection: a few frontal films are marked LL or RL, a decubitus position here."""
    view = read_view(projection)
    if side.strip().lower() == "frontal":
        return view if view in ("AP", "PA") else "frontal"
    return read_view(side)


def _is_small(tables: Iterable[Table]) -> bool:
    """Whether the first row of the first table names the release of 390 × 320 pixels."""
    for table in tables:
        path = table.column("Path")
        for _, cells in table.rows([]):
            try:
                return read_path(cells[path]).small
            except BadRow:
                return False
    return False
