"""Subgroups of a table of people: how well the bundle does for each group, and the gap to all others.

Legend: N images, P patients, K kinds of patients, R resamples.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import logit
from cxrserve.ensemble.calibration import fit_logistic
from cxrserve.findings import NAMES
from cxrserve.reports.ranking import auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
MIN_POSITIVES: Final = 50  # with fewer, a group is shown and no statement is made about it
_RESAMPLES: Final = 1000
_UNKNOWN: Final = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """A value with its 95 % interval from a bootstrap over patients; None where it cannot be computed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupRow:
    """One finding in one group.

    Attributes:
        enough: true with `MIN_POSITIVES` positive images; else nothing should be concluded.
        bias: mean probability less the share that shows the finding.
        slope: of the calibration; 1 is perfect.
        sensitivity_gap, specificity_gap: of the group less that of everybody else.
    """

    by: str
    group: str
    finding: str
    images: int
    patients: int
    positives: int
    enough: bool
    auc: float | None
    sensitivity: Range | None
    specificity: Range | None
    sensitivity_gap: Range | None
    specificity_gap: Range | None
    slope: float | None
    bias: float


def read_people(path: Path) -> dict[str, dict[str, str]]:
    """The table: a column `patient_id`, then any others (race, insurance, scanner), by patient.

    Raises:
        ValueError: it cannot be read, or has no such column, or a patient twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"the table of people {path} cannot be read: {type(error).__name__}") from None
    if "patient_id" not in columns or len(columns) < 2:
        raise ValueError(f"{path} needs the column patient_id and another one; it has {', '.join(columns)}")
    people = {row["patient_id"]: {name: (row[name] or "").strip() for name in columns[1:]} for row in rows}
    if len(people) < len(rows):
        raise ValueError(f"{path} has a patient twice. Keep one row for each patient.")
    return people


def subgroup_rows(
    probabilities: Mapping[str, Floats],
    thresholds: Mapping[str, float],
    labels_NF: NDArray[np.floating],
    patients: Sequence[str],
    people: Mapping[str, Mapping[str, str]],
) -> list[SubgroupRow]:
    """Every finding in every group of every column.

    Args:
        probabilities: by finding, of each image.
        patients: id of each image's patient; one without a row is in no group.
    """
    columns = list(dict.fromkeys(column for values in people.values() for column in values))
    rows: list[SubgroupRow] = []
    for column in columns:
        values = np.array([people.get(patient, {}).get(column, _UNKNOWN) for patient in patients])
        for group in sorted(set(values.tolist()) - {_UNKNOWN}):
            for finding, probabilities_N in probabilities.items():
                labels_N = labels_NF[:, NAMES.index(finding)]
                known_N = ~np.isnan(labels_N) & (values != _UNKNOWN)
                member_N = (values == group)[known_N]
                if member_N.any() and not member_N.all():
                    rows.append(
                        _row(
                            (column, group, finding),
                            probabilities_N[known_N],
                            labels_N[known_N] > 0.5,
                            member_N,
                            np.unique(np.array(patients)[known_N], return_inverse=True)[1],
                            thresholds[finding],
                        )
                    )
    return rows


def _row(
    names: tuple[str, str, str],
    probabilities_N: Floats,
    positive_N: Bools,
    member_N: Bools,
    patient_N: NDArray[np.int64],
    threshold: float,
) -> SubgroupRow:
    here, truth = probabilities_N[member_N], positive_N[member_N]
    positives = int(truth.sum())
    both = 0 < positives < len(truth)
    hit_N = probabilities_N >= threshold
    sensitivity = _shares(hit_N & positive_N, positive_N, member_N, patient_N)
    specificity = _shares(~hit_N & ~positive_N, ~positive_N, member_N, patient_N)
    enough = positives >= MIN_POSITIVES
    return SubgroupRow(
        by=names[0],
        group=names[1],
        finding=names[2],
        images=len(here),
        patients=len(set(patient_N[member_N].tolist())),
        positives=positives,
        enough=enough,
        auc=auc(here, truth.astype(float)) if both else None,
        sensitivity=sensitivity[0],
        specificity=specificity[0],
        sensitivity_gap=sensitivity[1],
        specificity_gap=specificity[1],
        slope=fit_logistic(logit(here), truth, ridge=0.0).slope if enough and both else None,
        bias=float(here.mean() - truth.mean()),
    )


def _shares(
    right_N: Bools, of_N: Bools, member_N: Bools, patient_N: NDArray[np.int64]
) -> tuple[Range | None, Range | None]:
    """The share of the group that is right, and its gap to everybody else, resampled by patient."""
    counts_4P = np.array(
        [
            np.bincount(patient_N, weights=mask, minlength=patient_N.max() + 1)
            for mask in (right_N & member_N, of_N & member_N, right_N & ~member_N, of_N & ~member_N)
        ]
    )
    # Patients with the same four counts are alike, so it is enough to draw how many there are of each kind.
    kinds_K4, of_kind_K = np.unique(counts_4P.T, axis=0, return_counts=True)
    patients = counts_4P.shape[1]
    drawn_RK = np.random.default_rng(0).multinomial(patients, of_kind_K / patients, size=_RESAMPLES)
    totals_R4 = drawn_RK @ kinds_K4
    right, of, other_right, other_of = counts_4P.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share_R = totals_R4[:, 0] / totals_R4[:, 1]
        gap_R = share_R - totals_R4[:, 2] / totals_R4[:, 3]
    share = _range(right / of, share_R) if of else None
    return share, _range(right / of - other_right / other_of, gap_R) if of and other_of else None


def _range(value: float, resampled_R: Floats) -> Range:
    low, high = np.nanpercentile(resampled_R, (2.5, 97.5))
    return Range(value=float(value), low=float(low), high=float(high))


def add_to_report(report: Path, rows: Sequence[SubgroupRow]) -> None:
    """Write the rows into report.json, as `people`."""
    content = json.loads(report.read_text("utf-8"))
    content["people"] = [_rounded(asdict(row)) for row in rows]
    report.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def page(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows of `people` in report.json as a table in Markdown; a group with few positives says so."""
    lines = [
        "# Subgroups",
        "",
        "Sensitivity and specificity at the bundle's operating point; the gap is to all others. Intervals "
        f"of 95 % by a bootstrap over patients. Groups with fewer than {MIN_POSITIVES} positive images are "
        "listed without a statement.",
        "",
        "| by | group | finding | images | positive | AUC | sensitivity | gap | specificity | gap | slope "
        "| bias |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row[name]) for name in ("by", "group", "finding", "images", "positives")]
        figures = ("auc", "sensitivity", "sensitivity_gap", "specificity", "specificity_gap", "slope", "bias")
        cells += [_cell(row[name]) if row["enough"] else "too few" for name in figures]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value:.3f}" if isinstance(value, float) else "–"
