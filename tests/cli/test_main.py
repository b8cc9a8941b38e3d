"""Tests of the command line, run as a process, as users run it."""

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
from tests.servers import Running


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
    assert "skipped" in done.stderr


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
    for name in NAMES:
        assert good[f"{name} score"] == good[name], "this bundle has no calibration"
        assert good[f"{name} decision"] == ("present" if float(good[name]) >= 0.5 else "absent")
        assert bad[f"{name} score"] == bad[f"{name} decision"] == ""


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
    assert pictures[0].relative_to(overlays) == Path("a", "atelectasis.png")
    assert done.returncode == 0
    assert [path.stem for path in pictures] == [name.lower().replace(" ", "-") for name in NAMES]
    radiograph = cv2.imdecode(np.frombuffer((films / "a.jpg").read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    overlay = cv2.imread(str(pictures[0]))
    assert radiograph is not None
    assert overlay is not None
    assert overlay.shape[0] > min(radiograph.shape[0], 1024)  # the radiograph, and the words below it


def test_a_sheet_for_each_film_by_default(films: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    (films / "a.b").mkdir()
    (films / "a.b" / "deep.jpg").write_bytes((films / "a.jpg").read_bytes())
    overlays = tmp_path / "overlays"
    done = run("predict", films, "--heatmaps", overlays, "--bundle", tiny_bundle)
    pictures = sorted(path.relative_to(overlays) for path in overlays.rglob("*.png"))
    assert {Path("a.png"), Path("a.b", "deep.png")} <= set(pictures), done.stdout + done.stderr
    sheet = cv2.imread(str(overlays / "a.png"))
    assert sheet is not None
    assert sheet.shape == (1000, 1440, 3)
    assert np.ptp(sheet[80:, :940].astype(int), axis=2).max() > 60, "its heatmaps are in colour"


def test_a_table_by_default(films: Path, tiny_bundle: Path) -> None:
    done = run("predict", films / "a.jpg", "--bundle", tiny_bundle)
    assert done.returncode == 0
    assert all(name in done.stdout for name in NAMES)
    assert "512 px" in done.stdout
    narrow = run("predict", films / "a.jpg", "--bundle", tiny_bundle, COLUMNS="80").stdout
    assert "operating point" in narrow
    assert len(narrow.splitlines()) < len(NAMES) + 10, "a line for each finding"


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
    ("arguments", "message"),
    [
        (["models", "verify", "nowhere"], "cannot be read"),
        (["serve", "--bundle", "nowhere"], "cannot be read"),
        (["predict", ".", "--set", "prot=1"], "cxrserve settings"),
        (["predict", ".", "--set", "threads=none"], "threads"),
    ],
)
def test_what_cannot_start_says_why(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        f"sys.argv = ['cxrserve', 'train', '--recipe', 'demo', '--out', {str(tmp_path)!r}]\n"
        "from cxrserve.cli.main import main; main()"
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
    listed, whole = run("models", "list", tiny_bundle.parent), run("models", "show", tiny_bundle, "--json")
    assert tiny_bundle.name in listed.stdout.replace("\n", "")
    contract = json.loads(whole.stdout)
    assert contract["findings"] == list(NAMES)
    summary = run("models", "show", tiny_bundle).stdout
    assert summary.startswith(f"tiny 1.0.0  {contract['intended_use']}")
    assert all(limit in summary for limit in contract["limits"])
    assert len(summary.splitlines()) < 35
    for name, point in contract["operating_points"].items():
        (row,) = [line for line in summary.splitlines() if name in line]
        assert f"{point['threshold']:.3f}" in row


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


def test_an_output_file_keeps_its_content_until_the_new_one_is_complete(films: Path, tmp_path: Path) -> None:
    output = tmp_path / "keep.csv"
    output.write_text("precious", encoding="utf-8")
    done = run("predict", films / "a.jpg", "--output", output, "--bundle", tmp_path / "nope")
    assert done.returncode == 2
    assert output.read_text(encoding="utf-8") == "precious"
    assert not list(tmp_path.glob("*.part"))


def test_an_output_file_that_is_an_image_is_refused(films: Path, tiny_bundle: Path) -> None:
    before = (films / "a.jpg").read_bytes()
    for inputs in (films / "a.jpg", films):
        done = run("predict", inputs, "--output", films / "a.jpg", "--bundle", tiny_bundle)
        assert done.returncode == 2
        assert "one of the images" in done.stderr
        assert (films / "a.jpg").read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ("--output", "{tmp}/nowhere/x.csv"),
        ("--output", "{tmp}"),
        ("--heatmaps", "{tmp}/films/notes.txt"),
        ("--findings", "Pneumotorax"),
        ("--epsilon", "0.1"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    films: Path, tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    given = [option.format(tmp=tmp_path) for option in options]
    done = run("predict", films / "a.jpg", *given, "--bundle", tiny_bundle)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert given[0] in done.stderr


def test_the_suffix_of_the_output_file_is_its_format(
    films: Path, tiny_bundle: Path, tmp_path: Path, chest_dicom: bytes
) -> None:
    paths = [films / "a.jpg", films / "inner" / "film without extension"]
    run("predict", *paths, "--output", tmp_path / "x.csv", "--bundle", tiny_bundle)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text(encoding="utf-8"))))
    assert [bool(row["sop_instance_uid"]) for row in rows] == [False, True]
    assert rows[0]["positive"].startswith("Atelectasis; ")
    assert "No Finding" not in rows[0]["positive"]
    run("predict", *paths, "--output", tmp_path / "x.jsonl", "--bundle", tiny_bundle)
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert [len(json.loads(line)["findings"]) for line in lines] == [len(NAMES), len(NAMES)]


def test_a_clone_finds_its_demo_bundle_from_any_folder(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("cxrserve")), "settings"]
    there = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"COLUMNS": "300"}, check=True
    )
    clone = Path(__file__).resolve().parents[2]
    assert str(clone / "models" / "demo") in there.stdout
    here = subprocess.run(
        command, cwd=clone, capture_output=True, text=True, env={"COLUMNS": "300"}, check=True
    )
    assert str(clone / "models" / "demo") not in here.stdout


def test_a_dash_is_standard_input(films: Path, tiny_bundle: Path) -> None:
    command = [str(Path(sys.executable).with_name("cxrserve")), "predict", "-", "--bundle", str(tiny_bundle)]
    data = (films / "inner" / "film without extension").read_bytes()
    done = subprocess.run([*command, "--format", "csv"], input=data, capture_output=True, check=True)
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert (row["status"], row["view"]) == ("ok", "PA")
    small = [*command, "--set", "max_upload_bytes=1000"]
    refused = subprocess.run(small, input=data, capture_output=True, check=False)
    assert refused.returncode == 1
    assert b"CXRSERVE_MAX_UPLOAD_BYTES=1000" in refused.stderr


def test_a_running_service_gives_the_same_answers(films: Path, tiny_bundle: Path, server: Running) -> None:
    here = run("predict", films, "--format", "csv", "--bundle", tiny_bundle)
    there = run("predict", films, "--format", "csv", "--url", server.url, "--bundle", "/nowhere")
    assert there.returncode == here.returncode == 1, there.stderr
    columns = ("file", "status", *NAMES, "sha256", "positive", "warnings", "view")
    rows = [
        [{name: row[name] for name in columns} for row in csv.DictReader(io.StringIO(done.stdout))]
        for done in (here, there)
    ]
    assert rows[0] == rows[1]
    assert [row["status"] == "ok" for row in rows[0]] == [True, False, True]
    assert "skipped" in there.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--url", "http://127.0.0.1:9"), "cannot be reached"),
        (("--url", "http://127.0.0.1:9", "--triage", "exact"), "neither --triage nor --heatmaps"),
    ],
)
def test_a_service_that_cannot_be_used_is_one_sentence(
    films: Path, options: tuple[str, ...], message: str
) -> None:
    done = run("predict", films / "a.jpg", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_short_options_and_completion() -> None:
    assert run("-V").stdout == run("--version").stdout
    assert "Usage" in run("predict", "-h").stdout
    typed = {"_CXRSERVE_COMPLETE": "complete_bash", "COMP_WORDS": "cxrserve pre", "COMP_CWORD": "1"}
    assert run(**typed).stdout.split() == ["predict"]


def test_several_images_get_one_line_each_and_refusals_are_not_wrapped(
    films: Path, tiny_bundle: Path
) -> None:
    done = run("predict", films, "--bundle", tiny_bundle, COLUMNS="80")
    lines = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        str(films / "a.jpg"),
        str(films / "inner" / "film without extension"),
    ]
    assert "Atelectasis" in lines[0]
    refused = [line for line in done.stderr.splitlines() if line.startswith("refused ")]
    assert len(refused) == 1
    assert "damaged.jpg" in refused[0]
    assert "cannot be read" in refused[0]
