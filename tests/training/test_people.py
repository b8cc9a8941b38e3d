"""Subgroups of a table of people: a planted gap is found, and a small group has no statement."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cxrserve.cli.main import app
from cxrserve.findings import INDEX, NAMES
from tests import radiographs
from training.evidence.people import MIN_POSITIVES, add_to_report, page, read_people, subgroup_rows


def hospital(gap: float) -> tuple[dict[str, np.ndarray], np.ndarray, list[str], dict[str, dict[str, str]]]:
    """3,000 images of 1,500 people; in B the sensitivity is lower by `gap`; 12 people are in C."""
    random = np.random.default_rng(1)
    patients = [f"p{number // 2}" for number in range(3000)]
    group_of = {f"p{number}": "C" if number < 12 else "AB"[number % 2] for number in range(1500)}
    labels_NF = np.full((3000, len(NAMES)), np.nan)
    positive_N = random.random(3000) < 0.4
    labels_NF[:, INDEX["Edema"]] = positive_N
    sensitivity_N = np.array([0.9 - gap * (group_of[patient] == "B") for patient in patients])
    hit_N = np.where(positive_N, random.random(3000) < sensitivity_N, random.random(3000) < 0.2)
    probabilities_N = np.where(hit_N, random.uniform(0.5, 1, 3000), random.uniform(0, 0.5, 3000))
    people = {patient: {"insurance": group} for patient, group in group_of.items()}
    return {"Edema": probabilities_N}, labels_NF, patients, people


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_a_planted_gap_is_reported_and_no_other(gap: float) -> None:
    probabilities, labels_NF, patients, people = hospital(gap)
    rows = {
        row.group: row for row in subgroup_rows(probabilities, {"Edema": 0.5}, labels_NF, patients, people)
    }
    assert set(rows) == {"A", "B", "C"}
    found = rows["B"].sensitivity_gap
    assert found is not None
    assert (found.high < 0) == (gap > 0), "the interval is without 0 where there is a gap"
    assert found.value == pytest.approx(-gap, abs=0.05)
    assert found.low < found.value < found.high
    for group in ("A", "B"):
        row = rows[group]
        assert row.enough
        assert row.auc is not None
        assert row.slope is not None
        assert row.specificity is not None
        assert row.specificity.low < 0.8 < row.specificity.high + 0.03
    assert (rows["A"].patients, rows["C"].patients, rows["C"].images) == (744, 12, 24)


def test_a_group_of_12_gets_no_statement(tmp_path: Path) -> None:
    probabilities, labels_NF, patients, people = hospital(0.1)
    rows = subgroup_rows(probabilities, {"Edema": 0.5}, labels_NF, patients, people)
    small = next(row for row in rows if row.group == "C")
    assert small.positives < MIN_POSITIVES
    assert not small.enough
    assert small.slope is None
    shown = page([asdict(row) for row in rows])
    line = next(line for line in shown.splitlines() if line.startswith("| insurance | C"))
    assert line.count("too few") == 7
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"findings": []}))
    add_to_report(report, rows)
    kept = json.loads(report.read_text())["people"]
    assert [row["group"] for row in kept] == ["A", "B", "C"]
    assert kept[0]["sensitivity"]["value"] == pytest.approx(rows[0].sensitivity.value, abs=1e-6)  # type: ignore[union-attr]


def test_a_table_of_people_is_read_and_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("patient_id,race,scanner\n1,x,DX3\n2,,DX4\n")
    assert read_people(path) == {"1": {"race": "x", "scanner": "DX3"}, "2": {"race": "", "scanner": "DX4"}}
    for text, message in (
        ("id,race\n", "needs the column patient_id"),
        ("patient_id,race\n1,x\n1,y\n", "twice"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_people(path)


def test_evaluate_puts_the_groups_into_the_report(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    lines = ["path,patient,Edema"]
    for number in range(4):
        (tmp_path / "films" / f"{number}.jpg").write_bytes(radiographs.jpeg(80 + number, 96))
        lines.append(f"{number}.jpg,p{number},{number % 2}")
    (tmp_path / "films" / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "people.csv").write_text("patient_id,insurance\np0,a\np1,b\np2,a\np3,b\n")
    arguments = ["evaluate", str(tiny_bundle), "--data", f"folder:{tmp_path / 'films'}", "--cams", ""]
    arguments += ["--out", str(tmp_path / "report"), "--field-images", "0", "--split", "all"]
    done = CliRunner().invoke(app, [*arguments, "--people", str(tmp_path / "people.csv")])
    assert done.exit_code == 0, done.output
    people = json.loads((tmp_path / "report" / "report.json").read_text())["people"]
    assert {(row["by"], row["group"]) for row in people} == {("insurance", "a"), ("insurance", "b")}
    assert {row["finding"] for row in people} == {"Edema"}
    assert {row["images"] for row in people} == {2}
    assert not any(row["enough"] for row in people)
