"""MIMIC-CXR, as JPEG (physionet.org/content/mimic-cxr-jpg) and as DICOM (physionet.org/content/mimic-cxr).

Labels are for studies, views and parts for images. The JPEG tree and the DICOM tree differ in the files'
extension alone; the tables come with the JPEG project.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.findings import INDEX, NAMES
from training.datasets.cells import LabelColumns, frozen, read_id, read_size
from training.datasets.faults import BadRow, DatasetError, Fault
from training.datasets.manifest import Manifest, new_manifest
from training.datasets.options import ImageFolder, ReadOptions
from training.datasets.sample import NEGATIVE, POSITIVE, UNCERTAIN, Labels, Part, Sample
from training.datasets.table import Cells, Table, find_table, required_table
from training.datasets.views import read_view

# Ids become parts of a path.
_NUMBER: Final = re.compile(r"\d{3,12}", re.ASCII)
_DICOM_ID: Final = re.compile(r"[0-9a-f-]{8,80}")
_PARTS: Final[dict[str, Part]] = {"train": "train", "validate": "validate", "test": "test"}
_NO_FINDING: Final = INDEX["No Finding"]


@dataclass(frozen=True, slots=True)
class _StudyLabels:
    subject_id: str | None  # the radiologist's table does not say
    labels_F: Labels

    def equals(self, other: _StudyLabels) -> bool:
        """Whether patient and labels are the same."""
        same_labels = np.array_equal(self.labels_F, other.labels_F, equal_nan=True)
        return self.subject_id == other.subject_id and same_labels


def read_jpg(root: Path, options: ReadOptions) -> Manifest:
    """files/p10/p10000032/s50414267/{dicom_id}.jpg."""
    return _read(root, options, "mimic-cxr-jpg", ".jpg")


def read_dicom_tree(root: Path, options: ReadOptions) -> Manifest:
    """files/p10/p10000032/s50414267/{dicom_id}.dcm."""
    return _read(root, options, "mimic-cxr", ".dcm")


def _read(root: Path, options: ReadOptions, source: str, extension: str) -> Manifest:
    if options.check_files and not (root / "files").is_dir():
        raise DatasetError(f"{root}: no folder files/ there; expected files/p10/p10000032/… as on PhysioNet")
    tables = options.tables or root
    faults: list[Fault] = []
    metadata = Table(required_table(tables, "mimic-cxr-*-metadata"))
    parts, part_of_study = _parts(tables, faults)
    studies, annotated = _labelled_studies(tables, options.labeler, faults)
    if options.radiologist_test_labels:
        testing = {study for study, part in part_of_study.items() if part == "test"}
        studies.update(_radiologist_labels(tables, testing, faults))
    make = _sample_maker(metadata, ImageFolder(str(root), options.check_files), extension, studies, parts)
    samples = metadata.samples(faults, make)
    return new_manifest(source=source, root=root, samples=samples, annotated=annotated, faults=faults)


def _sample_maker(
    metadata: Table,
    folder: ImageFolder,
    extension: str,
    studies: dict[str, _StudyLabels],
    parts: dict[str, Part],
) -> Callable[[Cells], Sample]:
    dicom, subject, study = (metadata.column(name) for name in ("dicom_id", "subject_id", "study_id"))
    rows, columns = metadata.column("Rows"), metadata.column("Columns")
    position = metadata.column("ViewPosition")
    view_code = metadata.optional_column("ViewCodeSequence_CodeMeaning")

    def make(cells: Cells) -> Sample:
        dicom_id, subject_id, study_id = cells[dicom], read_id(cells[subject]), read_id(cells[study])
        path = _path(subject_id, study_id, dicom_id, extension)
        labels_F = _labels_of(studies, study_id, subject_id)
        # Some 16,000 images have no View Position; most of them do have a view code.
        view = cells[position] or ("" if view_code is None else cells[view_code])
        return Sample(
            path=folder.image(path),
            patient_id=subject_id,
            study_id=study_id,
            image_id=dicom_id,
            labels_F=labels_F,
            view=read_view(view),
            rows=read_size(cells[rows]),
            columns=read_size(cells[columns]),
            split=parts.get(dicom_id),
        )

    return make


def _path(subject_id: str, study_id: str, dicom_id: str, extension: str) -> str:
    if not (_NUMBER.fullmatch(subject_id) and _NUMBER.fullmatch(study_id) and _DICOM_ID.fullmatch(dicom_id)):
        ids = f"subject {subject_id!r:.40}, study {study_id!r:.40}, image {dicom_id!r:.90}"
        raise BadRow("malformed row", f"{ids}, expected digits, digits and a hexadecimal id")
    return f"files/p{subject_id[:2]}/p{subject_id}/s{study_id}/{dicom_id}{extension}"


def _labels_of(studies: dict[str, _StudyLabels], study_id: str, subject_id: str) -> Labels:
    labelled = studies.get(study_id)
    if labelled is None:
        raise BadRow("study missing from the label table", f"study {study_id}")
    if labelled.subject_id not in (None, subject_id):
        raise BadRow(
            "malformed row", f"study {study_id} is patient {labelled.subject_id}'s in the label table"
        )
    return labelled.labels_F


def _labelled_studies(
    tables: Path, labeler: str, faults: list[Fault]
) -> tuple[dict[str, _StudyLabels], tuple[str, ...]]:
    table = Table(required_table(tables, f"mimic-cxr-*-{labeler}"))
    labels = LabelColumns(table)
    subject, study = table.column("subject_id"), table.column("study_id")
    studies: dict[str, _StudyLabels] = {}
    for line_number, cells in table.rows(faults):
        try:
            study_id = read_id(cells[study])
            labelled = _StudyLabels(read_id(cells[subject]), labels.read(cells))
            first = studies.setdefault(study_id, labelled)
            if not first.equals(labelled):
                raise BadRow("study listed twice with other labels", f"study {study_id}; the first row stays")
        except BadRow as bad:
            faults.append(table.fault(line_number, bad))
    return studies, labels.present


def _parts(tables: Path, faults: list[Fault]) -> tuple[dict[str, Part], dict[str, Part]]:
    """The official parts, by dicom_id and by study_id; empty where the table is absent."""
    path = find_table(tables, "mimic-cxr-*-split")
    if path is None:
        return {}, {}
    table = Table(path)
    dicom, study, split = (table.column(name) for name in ("dicom_id", "study_id", "split"))
    of_image: dict[str, Part] = {}
    of_study: dict[str, Part] = {}
    for line_number, cells in table.rows(faults):
        part = _PARTS.get(cells[split])
        if part is None:
            bad = BadRow("malformed row", f"split {cells[split]!r:.40}, expected one of {', '.join(_PARTS)}")
            faults.append(table.fault(line_number, bad))
        else:
            of_image[cells[dicom]] = of_study[read_id(cells[study])] = part
    return of_image, of_study


def _radiologist_labels(tables: Path, testing: set[str], faults: list[Fault]) -> dict[str, _StudyLabels]:
    """Labels of the official test studies, by study; the table writes "Airspace Opacity" for Lung Opacity."""
    table = Table(required_table(tables, "mimic-cxr-*-test-set-labeled"))
    labels = LabelColumns(table, {"Lung Opacity": "Airspace Opacity"})
    study = table.column("study_id")
    studies: dict[str, _StudyLabels] = {}
    for line_number, cells in table.rows(faults):
        try:
            study_id = read_id(cells[study])
            if study_id in testing:
                labels_F = labels.read(cells)
                complete = "No Finding" in labels.present
                studies[study_id] = _StudyLabels(None, labels_F if complete else with_no_finding(labels_F))
        except BadRow as bad:
            faults.append(table.fault(line_number, bad))
    if not studies:
        raise DatasetError(
            f"{table.path.name}: none of its studies is an official test study of the split table; check "
            "that both tables are of the same release, or leave radiologist_test_labels away"
        )
    return studies


def with_no_finding(labels_F: Labels) -> Labels:
    """`labels_F` with "No Finding" as CheXpert defines it: no pathology is positive or uncertain.

    Irvin et al. 2019, section 2; "Support Devices" is no pathology. For a table that has no such column.
    """
    seen_F = (labels_F == POSITIVE) | (labels_F == UNCERTAIN)
    seen_F[[_NO_FINDING, INDEX["Support Devices"]]] = False
    filled_F = np.where(
        np.arange(len(NAMES)) == _NO_FINDING, NEGATIVE if seen_F.any() else POSITIVE, labels_F
    )
    return frozen(filled_F.tolist())
