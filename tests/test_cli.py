"""The command line, run as its users run it: as a process."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrserve import __version__
from cxrserve.findings import NAMES
from cxrserve.settings import Settings


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("cxrserve")), *map(str, arguments)]
    surroundings = {"PATH": "/usr/bin:/bin", "COLUMNS": "140", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False, timeout=120)


@pytest.fixture
def films(tmp_path: Path, chest_jpeg: bytes, chest_dicom: bytes) -> Path:
    """A folder as users have them: films, a damaged one, and a file that is none."""
    folder = tmp_path / "films"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(chest_jpeg)
    (folder / "inner" / "film without extension").write_bytes(chest_dicom)
    (folder / "damaged.jpg").write_bytes(chest_jpeg[: len(chest_jpeg) // 2])
    (folder / "notes.txt").write_text("not a film")
    return folder


def test_help_teaches() -> None:
    shown = run("--help").stdout
    assert all(command in shown for command in ("serve", "predict", "models", "train", "doctor", "settings"))
    assert run("--version").stdout.strip() == f"cxrserve {__version__}"


def test_json_of_a_folder_with_a_bad_file(films: Path, tiny_bundle: Path) -> None:
    done = run("predict", films, "--format", "json", "--bundle", tiny_bundle)
    answers = {Path(item["file"]).name: item for item in json.loads(done.stdout)}
    assert done.returncode == 1
    assert set(answers) == {"a.jpg", "film without extension", "damaged.jpg"}
    assert [finding["finding"] for finding in answers["a.jpg"]["findings"]] == list(NAMES)
    assert answers["film without extension"]["image"]["format"] == "dicom"
    assert "cannot be read" in answers["damaged.jpg"]["error"]
    assert "passed over" in done.stderr


def test_csv_holds_a_line_for_each_file(films: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.csv"
    done = run(
        "predict",
        films / "a.jpg",
        films / "damaged.jpg",
        "--format",
        "csv",
        "--output",
        output,
        "--bundle",
        tiny_bundle,
    )
    good, bad = csv.DictReader(io.StringIO(output.read_text(encoding="utf-8")))
    assert done.returncode == 1
    assert good["status"] == "ok"
    assert all(0 <= float(good[name]) <= 1 for name in NAMES)
    assert "cannot be read" in bad["status"]
    assert not any(bad[name] for name in NAMES)


def test_a_file_named_like_a_formula_stays_text(tmp_path: Path, chest_jpeg: bytes, tiny_bundle: Path) -> None:
    (tmp_path / "=HYPERLINK(1).jpg").write_bytes(chest_jpeg)
    command = [str(Path(sys.executable).with_name("cxrserve")), "predict", "=HYPERLINK(1).jpg"]
    options = ["--format", "csv", "--bundle", str(tiny_bundle)]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "'=HYPERLINK(1).jpg,ok" in done.stdout


def test_overlays_lie_beside_the_numbers(films: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    overlays = tmp_path / "overlays"
    done = run(
        "predict", films / "a.jpg", "--heatmaps", overlays, "--findings", "all", "--bundle", tiny_bundle
    )
    pictures = sorted(overlays.rglob("*.png"))
    assert done.returncode == 0
    assert [path.stem for path in pictures] == [name.lower().replace(" ", "-") for name in NAMES]
    radiograph = cv2.imdecode(np.frombuffer((films / "a.jpg").read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    overlay = cv2.imread(str(pictures[0]))
    assert radiograph is not None
    assert overlay is not None
    assert overlay.shape[0] > min(radiograph.shape[0], 1024)  # the radiograph, and the words below it


def test_a_table_by_default(films: Path, tiny_bundle: Path) -> None:
    done = run("predict", films / "a.jpg", "--bundle", tiny_bundle)
    assert done.returncode == 0
    assert all(name in done.stdout for name in NAMES)


def test_odd_paths_stop_nothing(films: Path, tiny_bundle: Path, tmp_path: Path, chest_jpeg: bytes) -> None:
    deep = tmp_path / ("a" * 150) / ("b" * 150)
    deep.mkdir(parents=True)
    (deep / "film.jpg").write_bytes(chest_jpeg)
    (Path(os.fsencode(tmp_path).decode()) / os.fsdecode(b"caf\xe9.jpg")).write_bytes(chest_jpeg)
    os.mkfifo(tmp_path / "pipe")
    paths: list[str | Path] = ["missing.jpg", tmp_path / "pipe", deep, tmp_path / os.fsdecode(b"caf\xe9.jpg")]
    output, overlays = tmp_path / "answers.json", tmp_path / "overlays"
    done = run(
        "predict",
        *paths,
        "--format",
        "json",
        "--output",
        output,
        "--heatmaps",
        overlays,
        "--bundle",
        tiny_bundle,
    )
    answers = json.loads(output.read_text(encoding="utf-8"))
    assert done.returncode == 1, done.stderr
    assert ["error" in item for item in answers] == [True, True, False, False]
    assert "no such file" in answers[0]["error"]
    assert "not a regular file" in answers[1]["error"]
    assert len(list(overlays.rglob("*.png"))) >= 2


def test_many_files_are_no_overload(films: Path, tiny_bundle: Path) -> None:
    for number in range(6):
        (films / f"{number}.jpg").write_bytes((films / "a.jpg").read_bytes())
    done = run("predict", *sorted(films.glob("[0-9].jpg")), "--bundle", tiny_bundle, CXRSERVE_MAX_WAITING="0")
    assert done.returncode == 0, done.stderr


def test_an_unknown_finding_is_one_sentence(films: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    done = run(
        "predict", films / "a.jpg", "--heatmaps", tmp_path, "--findings", "Knee", "--bundle", tiny_bundle
    )
    assert done.returncode == 2
    assert "unknown finding 'Knee'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "verify", "nowhere"], "cannot be read"),
        (["serve", "--bundle", "nowhere"], "cannot be read"),
        (["predict", ".", "--set", "prot=1"], "cxrserve settings"),
        (["predict", ".", "--set", "threads=none"], "threads"),
    ],
)
def test_what_cannot_start_says_why(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        f"sys.argv = ['cxrserve', 'train', '--recipe', 'demo', '--out', {str(tmp_path)!r}]\n"
        "from cxrserve.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'torch is missing: pip install "cxrserve[train]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_in_the_environment_that_cannot_be_is_refused() -> None:
    done = run("settings", CXRSERVE_PORT="many")
    assert done.returncode == 2
    assert "port" in done.stderr


def test_a_misspelt_setting_in_the_environment_is_refused() -> None:
    done = run("doctor", CXRSERVE_MAX_UPLOD_BYTES="1")
    assert done.returncode == 2
    assert "CXRSERVE_MAX_UPLOD_BYTES" in done.stderr


def test_settings_lists_every_setting() -> None:
    shown = run("settings", CXRSERVE_PORT="9000").stdout
    assert all(f"CXRSERVE_{name.upper()}" in shown for name in Settings.model_fields)
    assert "9000" in shown


def test_models_can_be_looked_at(tiny_bundle: Path) -> None:
    listed, shown = run("models", "list", tiny_bundle.parent), run("models", "show", tiny_bundle)
    assert tiny_bundle.name in listed.stdout.replace("\n", "")
    assert json.loads(shown.stdout)["findings"] == list(NAMES)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_models_verify_runs_every_member(tiny_bundle: Path, engine: str) -> None:
    done = run("models", "verify", tiny_bundle, "--engine", engine)
    assert done.returncode == 0
    assert f"on {engine}" in done.stdout


def test_doctor_says_which_engine_and_why(tiny_bundle: Path, tmp_path: Path) -> None:
    well, ill = run("doctor", "--bundle", tiny_bundle), run("doctor", "--bundle", tmp_path)
    assert well.returncode == 0
    assert "openvino" in well.stdout
    assert "ready to serve" in well.stdout
    assert ill.returncode == 1
    assert "cannot serve yet" in ill.stdout
