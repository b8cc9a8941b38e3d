"""`predict`: the AUC where labels lie beside the films, and the sheets that it opens."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from cxrserve.findings import INDEX
from cxrserve.reports.ranking import auc_interval, placements
from tests import radiographs
from tests.cli.test_main import run


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Six different radiographs in two folders."""
    folder = tmp_path / "films"
    (folder / "inner").mkdir(parents=True)
    for number in range(6):
        path = folder / ("inner" if number % 2 else "") / f"{number}.jpg"
        path.write_bytes(radiographs.jpeg(rows=radiographs.ROWS + 16 * number))
    return folder


def write_labels(folder: Path, column: str, rows: list[tuple[str, str, list[str]]]) -> None:
    """A table with two findings, in the form of `phantoms` or of `site labels`."""
    patient = "patient_id" if column == "path" else "patient"
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [[column, patient, "Edema", "Fracture"], *([name, of, *cells] for name, of, cells in rows)]
        )


@pytest.mark.parametrize("column", ["path", "file"])
def test_labels_beside_the_films_give_the_auc(films: Path, tiny_bundle: Path, column: str) -> None:
    present = ["1", "0", "1", "0", "0", ""]
    names = [f"{'inner/' if number % 2 else ''}{number}.jpg" for number in range(6)]
    write_labels(films, column, [(names[n], f"p{n // 2}", [present[n], "0"]) for n in range(6)])
    done = run("predict", films, "--format", "jsonl", "--bundle", tiny_bundle)
    assert done.returncode == 0, done.stderr
    answers = {Path(each["file"]).name: each for each in map(json.loads, done.stdout.splitlines())}
    scores_N = np.array([answers[f"{n}.jpg"]["findings"][INDEX["Edema"]]["probability"] for n in range(5)])
    components = placements(scores_N, np.array([True, False, True, False, False]), np.array([0, 0, 1, 1, 2]))
    assert components is not None
    expected = auc_interval(components)
    assert "AUC by finding, on 6 films of labels.csv" in done.stderr
    row = next(line for line in done.stderr.splitlines() if "Edema" in line)
    assert re.findall(r"[\d.]+", row)[:3] == ["2", "3", f"{expected.value:.3f}"]
    fracture = next(line for line in done.stderr.splitlines() if "Fracture" in line)
    assert "–" in fracture, "a finding without a positive film has no AUC"
    assert "skipped" not in done.stderr, "the table is no film"


def test_labels_that_say_nothing_are_silent_and_a_foreign_table_is_named(
    films: Path, tiny_bundle: Path
) -> None:
    write_labels(films, "path", [("0.jpg", "p", ["1", "0"])])
    assert "AUC" not in run("predict", films / "0.jpg", "--bundle", tiny_bundle).stderr
    assert "AUC" not in run("predict", films / "2.jpg", "--bundle", tiny_bundle).stderr
    (films / "labels.csv").write_text("name,price\nx,1\n")
    done = run("predict", films, "--bundle", tiny_bundle)
    assert done.returncode == 0
    assert "labels not used: " in done.stderr
    assert "has no column `file`; it has name, price" in done.stderr
    assert "skipped" in done.stderr


@pytest.fixture
def desktop(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with a program that opens files: it notes what it was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "xdg-open").write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/opened"\n')
    (programs / "xdg-open").chmod(0o755)
    return {"PATH": f"{programs}:/usr/bin:/bin", "DISPLAY": ":7", "TMPDIR": str(tmp_path)}


def test_a_sheet_is_written_and_opened(
    films: Path, tiny_bundle: Path, tmp_path: Path, desktop: dict[str, str]
) -> None:
    done = run("predict", films / "0.jpg", films / "2.jpg", "--open", "--bundle", tiny_bundle, **desktop)
    assert done.returncode == 0, done.stderr
    opened = [Path(line) for line in (tmp_path / "opened").read_text().splitlines()]
    assert [path.name for path in opened] == ["0.png", "2.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in opened)
    assert all(f"sheet {path}" in done.stderr for path in opened)
    folder = opened[0].parent
    assert folder.stat().st_mode & 0o077 == 0, "sheets show a patient: for this user alone"
    shutil.rmtree(folder)
    named = run(
        "predict",
        films / "0.jpg",
        "--open",
        "--heatmaps",
        tmp_path / "out",
        "--bundle",
        tiny_bundle,
        **desktop,
    )
    assert named.returncode == 0
    assert (tmp_path / "opened").read_text().splitlines()[2:] == [str(tmp_path / "out" / "0.png")]


def test_where_nothing_can_be_opened_it_says_so_and_ends_as_ever(
    films: Path, tiny_bundle: Path, tmp_path: Path, desktop: dict[str, str]
) -> None:
    options = ("predict", films / "0.jpg", "--open", "--heatmaps", tmp_path / "out", "--bundle", tiny_bundle)
    done = run(*options, **desktop | {"DISPLAY": ""})
    assert (done.returncode, "not opened: this machine has no display" in done.stderr) == (0, True)
    assert (tmp_path / "out" / "0.png").is_file()
    done = run(*options, **desktop | {"PATH": str(tmp_path)})
    assert (done.returncode, "not opened: this machine has no xdg-open" in done.stderr) == (0, True)
    (tmp_path / "bin" / "xdg-open").write_text("#!/bin/sh\nexit 3\n")
    done = run(*options, **desktop)
    assert (done.returncode, "ended with 3" in done.stderr) == (0, True)


def test_open_is_refused_before_anything_runs(films: Path, tiny_bundle: Path) -> None:
    for number in range(6, 11):
        (films / f"{number}.jpg").write_bytes(radiographs.jpeg(rows=radiographs.ROWS + 16 * number))
    done = run("predict", films, "--open", "--bundle", tiny_bundle)
    assert (done.returncode, "at most 10 sheets, and there are 11 files" in done.stderr) == (2, True)
    for other in (["--findings", "all"], ["--triage", "exact"], ["--url", "http://127.0.0.1:9"]):
        done = run("predict", films / "0.jpg", "--open", *other, "--bundle", tiny_bundle)
        assert (done.returncode, "leave out --url, --triage and --findings" in done.stderr) == (2, True)
