"""Bulk prediction: parts that appear whole, runs that go on, and refusals that are rows."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cxrserve.bulk.plan import PART_IMAGES, part_file
from cxrserve.bulk.run import Options, predict_in_parts
from cxrserve.bulk.source import open_source
from cxrserve.bundle.calibration import Calibration
from cxrserve.bundle.contract import read_contract, write_contract
from cxrserve.cli.main import app
from cxrserve.errors import ConfigurationError, CxrserveError
from cxrserve.findings import NAMES
from cxrserve.settings import Settings
from tests import radiographs

IMAGES, PART = 11, 3
_PATIENCE_S = 200.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten radiographs in folders, and one file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES - 1):
        path = folder / f"patient {number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(radiographs.png(300 + 10 * number, 280))
    (folder / "patient 1" / "notes.txt").write_text("no image")
    (folder / ".hidden").write_text("not listed")
    return folder


@pytest.fixture(scope="module")
def settings(tiny_bundle: Path) -> Settings:
    return Settings(bundle=tiny_bundle, threads=1, decode_workers=1)


@pytest.fixture(scope="module")
def whole(images: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nobody disturbed."""
    output = tmp_path_factory.mktemp("whole") / "answers"
    predict(images, settings, output)
    return output


def predict(images: Path, settings: Settings, output: Path, part_images: int = PART) -> bool:
    """A run on this machine."""
    return predict_in_parts(open_source(str(images)), settings, str(output), Options(part_images=part_images))


def contents(output: Path) -> dict[str, bytes]:
    """The files of an output folder, by name."""
    return {path.name: path.read_bytes() for path in output.iterdir()}


def test_each_image_is_one_row_in_order_and_a_refusal_is_a_row_too(images: Path, whole: Path) -> None:
    parts = sorted(whole.glob("part-*.parquet"))
    assert [path.name for path in parts] == [part_file(part) for part in range(4)]
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    files = sorted(
        path.relative_to(images).as_posix()
        for path in images.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    assert [row["file"] for row in rows] == files
    by_status = {row["file"]: row["status"] for row in rows}
    assert by_status.pop("patient 1/notes.txt") == "unsupported-format"
    assert set(by_status.values()) == {"ok"}
    for row in rows:
        known = [row[name] for name in NAMES if row[name] is not None]
        assert bool(known) == (row["status"] == "ok")
        assert (row["problem"] is None) == (row["status"] == "ok")


def test_score_and_decision_stand_beside_the_probability(
    images: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    contract, _ = read_contract(bundle)
    halved = {name: Calibration(slope=0.5, intercept=-1.0, data="tests") for name in NAMES}
    write_contract(bundle, contract.model_copy(update={"calibration": halved}))
    film = next(images.rglob("*.png"))
    (tmp_path / "films").mkdir()
    shutil.copy(film, tmp_path / "films")
    predict(tmp_path / "films", Settings(bundle=bundle, threads=1, decode_workers=1), tmp_path / "answers")
    (row,) = pq.read_table(tmp_path / "answers" / part_file(0)).to_pylist()
    table = tmp_path / "answers.csv"
    arguments = ["predict", str(tmp_path / "films"), "--bundle", str(bundle), "--output", str(table)]
    assert CliRunner().invoke(app, [*arguments, "--set", "threads=1"]).exit_code == 0
    with table.open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    for name in NAMES:
        assert row[name] == pytest.approx(float(halved[name].apply(row[f"{name} score"])))
        assert row[f"{name} decision"] == ("present" if row[name] >= 0.5 else "absent")
        assert line[f"{name} score"] == f"{row[f'{name} score']:.6f}"
        assert line[f"{name} decision"] == row[f"{name} decision"]
    assert {row[f"{name} decision"] for name in NAMES} == {"present", "absent"}


def test_the_rows_can_be_asked_in_sql(whole: Path) -> None:
    table = str(whole / "part-*.parquet")
    asked = duckdb.sql(f"select status, count(*) from '{table}' group by status order by 2 desc")
    assert asked is not None
    assert asked.fetchall() == [("ok", IMAGES - 1), ("unsupported-format", 1)]


def test_the_same_command_again_has_nothing_to_do(images: Path, settings: Settings, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    predict(images, settings, whole)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_a_missing_part_is_made_again_with_the_same_bytes(
    images: Path, settings: Settings, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers"
    shutil.copytree(whole, output)
    (output / part_file(2)).unlink()
    predict(images, settings, output)
    assert contents(output) == contents(whole)


def test_killed_at_random_moments_nothing_is_missing_and_nothing_doubled(
    images: Path, tiny_bundle: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers"
    program = (
        "import sys; from cxrserve.bulk.run import Options, predict_in_parts;"
        "from cxrserve.bulk.source import open_source; from cxrserve.settings import Settings;"
        "settings = Settings(bundle=sys.argv[2], threads=1, decode_workers=1);"
        "predict_in_parts(open_source(sys.argv[1]), settings,"
        f" sys.argv[3], Options(part_images={PART}))"
    )
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-c",
        program,
        str(images),
        str(tiny_bundle),
        str(output),
    ]
    chance = random.Random()
    kept: dict[str, bytes] = {}
    for parts in (0, 1, 2):  # killed some time after so many parts are there
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until = time.monotonic() + _PATIENCE_S
        while len(list(output.glob("part-*"))) < parts and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = contents(output) if output.exists() else {}
        assert kept.items() <= {name: now[name] for name in kept}.items()
        kept = {name: content for name, content in now.items() if not name.startswith(".")}
    last = subprocess.run(command, check=False, timeout=_PATIENCE_S, capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    for leftover in output.glob(".*.part"):  # of a killed process; never read
        leftover.unlink()
    assert contents(output) == contents(whole)


def test_another_run_and_other_files_are_refused(
    images: Path, settings: Settings, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=rf"part_images: {PART} there, 4 now"):
        predict(images, settings, whole, part_images=4)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds other files, letter\.txt among them"):
        predict(images, settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="there are no files"):
        predict(tmp_path / "empty", settings, tmp_path / "answers")
    with pytest.raises(ConfigurationError, match="no folder of images"):
        predict(tmp_path / "nowhere", settings, tmp_path / "answers")


def test_the_command_line_says_what_it_needs(images: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        command = ["predict", *arguments, "--format", "parquet", "--bundle", str(tiny_bundle)]
        error = CliRunner().invoke(app, command).exception
        assert isinstance(error, CxrserveError)
        return str(error)

    def said_of_files(*arguments: str) -> str:
        error = CliRunner().invoke(app, ["predict", str(images), *arguments]).exception
        assert isinstance(error, CxrserveError)
        return str(error)

    for option in (("--dicom", "x"), ("--ray", "auto"), ("--give-up", "1")):
        assert f"{option[0]} is for archives; it needs --format parquet" in said_of_files(*option)
    assert "--give-up needs --ray" in said(str(images), "--output", str(tmp_path / "out"), "--give-up", "1")
    assert "--output FOLDER" in said(str(images))
    assert "not 2" in said(str(images), str(images), "--output", str(tmp_path / "out"))
    assert "leave out --triage" in said(str(images), "--output", str(tmp_path / "out"), "--triage", "exact")
    assert "ftp://pacs/x cannot be opened" in said("ftp://pacs/x", "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    finished = CliRunner().invoke(
        app,
        [
            *("predict", str(images / "patient 0"), "--format", "parquet", "--bundle", str(tiny_bundle)),
            *("--output", str(tmp_path / "out")),
        ],
    )
    assert finished.exit_code == 0, finished.output
    assert (tmp_path / "out" / part_file(0)).exists()


def test_run_json_says_what_was_run(whole: Path, tiny_bundle: Path) -> None:
    run = json.loads((whole / "run.json").read_text(encoding="utf-8"))
    assert run["part_images"] == PART
    assert len(run["bundle_sha256"]) == 64
    metadata = pq.read_schema(whole / part_file(0)).metadata
    assert metadata[b"engine"].split()[0] in (b"openvino", b"onnxruntime")


def test_a_plan_of_many_names_goes_on_and_is_counted_in_little_memory(tmp_path: Path) -> None:
    count = 200 * PART_IMAGES + 1
    words = [sys.executable, "-m", "tests.benchmarks.archive_plan", "--images", str(count), str(tmp_path)]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_PATIENCE_S).stdout
    figures = json.loads(said)
    assert figures["parts"] == 201
    assert figures["remaining"] == figures["remaining_when_resumed"] == 101
    assert figures["rows"] == figures["names"] == count
    assert figures["peak_mib"] < 500
