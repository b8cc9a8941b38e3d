"""Bulk prediction on a real Ray cluster of two raylets: kills, faults, and the same bytes as one machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cxrserve.bulk.on_ray import ClusterError, _Ledger, _pool
from cxrserve.bulk.plan import part_file
from cxrserve.bulk.run import Options, predict_in_parts
from cxrserve.bulk.source import open_source
from cxrserve.settings import Settings
from tests import radiographs
from tests.ray_cluster import RayCluster, ray_cluster
from tests.waiting import PATIENCE_S, until

IMAGES, PART = 24, 2
_PROGRAM = (
    "import sys; from cxrserve.bulk.run import Options, predict_in_parts;"
    "from cxrserve.bulk.source import open_source; from cxrserve.settings import Settings;"
    "settings = Settings(bundle=sys.argv[2], threads=2, decode_workers=1);"
    f"options = Options(part_images={PART}, dicom=sys.argv[4], ray=sys.argv[5]);"
    "predict_in_parts(open_source(sys.argv[1]), settings, sys.argv[3], options)"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two raylets that hold one reader of two cores each."""
    with ray_cluster(nodes=2, cores=3) as running:
        yield running


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Radiographs, half of them DICOM, and one file that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        draw = radiographs.dicom if number % 2 else radiographs.png
        (folder / f"{number:02d}").write_bytes(draw(300 + 10 * number, 280))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def alone(images: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders `answers` and `results` that one machine makes of the images."""
    folder = tmp_path_factory.mktemp("alone")
    settings = Settings(bundle=tiny_bundle, threads=2, decode_workers=1)
    options = Options(part_images=PART, dicom=str(folder / "results"))
    assert predict_in_parts(open_source(str(images)), settings, str(folder / "answers"), options)
    return folder


def begun_as(alone: Path, results: Path) -> None:
    """Let DICOM results say the time of those of one machine, which is that of their folder's beginning."""
    results.mkdir()
    shutil.copy(alone / "results" / "results.json", results)


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder; those that a killed process left unfinished are no answers."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def named_rows(answers: Path) -> list[str]:
    """The images of all rows, in the order of the parts."""
    return [row["file"] for path in sorted(answers.glob("part-*")) for row in pq.read_table(path).to_pylist()]


def command(images: Path, bundle: Path, output: Path, dicom: Path, address: str) -> list[str]:
    """A run on the cluster, in a process of its own."""
    return [sys.executable, "-c", _PROGRAM, *map(str, (images, bundle, output, dicom, address))]


def predict(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`cxrserve predict ARGUMENTS --format parquet`."""
    words = [sys.executable, "-m", "cxrserve", "predict", *map(str, arguments), "--format", "parquet"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_a_machine_too_small_is_refused_with_the_numbers(
    cluster: RayCluster, images: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    said = predict(
        *(images, "--output", tmp_path / "out", "--ray", cluster.address, "--bundle", tiny_bundle),
        *("--set", "threads=64"),
    )
    assert said.returncode == 2, said.stderr
    assert "a reader takes 64 cores" in said.stderr
    assert "(cores of its nodes: 3, 3)" in said.stderr
    assert not list((tmp_path / "out").glob("part-*"))


def test_no_cluster_is_refused_before_anything_is_written(
    images: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    for address, why in (
        ("127.0.0.1:1", "no cluster can be reached there"),
        (
            "ray://127.0.0.1:10001",
            "the Ray client (ray://) is not supported. Run the command on a machine of",
        ),
    ):
        said = predict(images, "--output", tmp_path / "out", "--ray", address, "--bundle", tiny_bundle)
        assert said.returncode == 2, said.stderr
        assert f"--ray {address}: {why}" in said.stderr
    assert not (tmp_path / "out").exists()


def test_an_image_that_kills_its_reader_is_given_up_with_its_part(
    cluster: RayCluster, images: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in ("00", "01", "02"):
        shutil.copy(images / name, few)
    words = [sys.executable, "-m", "tests.bulk.deadly", str(few), "01", str(tiny_bundle)]
    said = subprocess.run(
        [*words, str(tmp_path / "out"), cluster.address, "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert said.returncode == 1, said.stderr
    assert f"1 parts were given up and have no file: {part_file(1)}" in said.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("part-*")) == [part_file(0), part_file(2)]
    strict = subprocess.run(
        [*words, str(tmp_path / "out"), cluster.address, "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert strict.returncode != 0
    assert f"{part_file(1)}: it was begun 3 times, and its reader died each time" in strict.stderr


def test_a_killed_driver_goes_on_with_the_same_command(
    cluster: RayCluster, images: Path, alone: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The process of the command dies without a word; nothing is missing, and nothing doubled."""
    begun_as(alone, tmp_path / "results")
    answers = tmp_path / "answers"
    words = command(images, tiny_bundle, answers, tmp_path / "results", cluster.address)
    parts = -(-(IMAGES + 1) // PART)
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or len(list(answers.glob("part-*"))) >= 2)
    finally:
        process.kill()
    process.wait()
    until(lambda: not cluster.processes("MapWorker", "cxrserve.imaging"))
    finished = {path.name: path.stat().st_mtime_ns for path in answers.glob("part-*")}
    assert 2 <= len(finished) < parts

    again = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert f"{len(finished)} parts were done before" in again.stderr
    assert {name: (answers / name).stat().st_mtime_ns for name in finished} == finished
    assert contents(answers) == contents(alone / "answers")
    assert contents(tmp_path / "results") == contents(alone / "results")
    assert named_rows(answers) == sorted(path.name for path in images.iterdir())


def test_with_a_reader_and_a_node_killed_the_bytes_are_those_of_one_machine(
    cluster: RayCluster, images: Path, alone: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    begun_as(alone, tmp_path / "results")
    words = command(images, tiny_bundle, tmp_path / "answers", tmp_path / "results", cluster.address)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:

        def some_parts_are_done(count: int) -> bool:
            assert process.poll() is None, process.communicate()[1]
            return len(list((tmp_path / "answers").glob("part-*"))) >= count

        until(lambda: some_parts_are_done(1))
        cluster.processes("MapWorker")[0].kill()
        until(lambda: some_parts_are_done(2))
        cluster.kill_node(1)
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert "images/s, 0:" in said
    assert f"without DICOM results: {IMAGES // 2} of {IMAGES} images: no DICOM file" in said
    assert contents(tmp_path / "answers") == contents(alone / "answers")
    assert contents(tmp_path / "results") == contents(alone / "results")
    assert named_rows(tmp_path / "answers") == sorted(path.name for path in images.iterdir())

    again = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    parts = -(-(IMAGES + 1) // PART)
    assert f"{parts} parts were done before" in again.stderr
    # A reader that is closed ends with its threads and its decode workers.
    until(lambda: not cluster.processes("MapWorker", "cxrserve.imaging"))


def nodes(*resources: dict[str, float]) -> list[dict[str, Any]]:
    """The answer of `ray.nodes()` for living nodes with these resources."""
    return [{"Alive": True, "Resources": each} for each in resources]


@pytest.mark.parametrize(
    ("cluster_nodes", "threads", "readers", "cores", "gpus"),
    [
        (nodes({}, {"CPU": 16}, {"CPU": 16}), None, 2, 15, 0),
        (nodes({"CPU": 16}, {"CPU": 16}), 4, 6, 4, 0),
        (nodes({"CPU": 8}, {"CPU": 16}), None, 3, 7, 0),
        (nodes({"CPU": 4}, {"CPU": 32, "GPU": 2}), None, 2, 15, 1),
    ],
)
def test_the_readers_leave_each_node_room_to_hand_out_names(
    cluster_nodes: list[dict[str, Any]], threads: int | None, readers: int, cores: int, gpus: int
) -> None:
    settings = Settings() if threads is None else Settings(threads=threads)
    pool = _pool(cluster_nodes, settings)
    assert (pool.size, pool.cpus, pool.gpus) == (readers, cores, gpus)


def test_a_cluster_without_room_has_no_readers() -> None:
    for small in (nodes(), nodes({"memory": 1.0}), nodes({"CPU": 1})):
        with pytest.raises(ClusterError, match="a reader takes 1 cores"):
            _pool(small, Settings())


def test_readers_that_all_die_as_they_start_are_not_started_for_ever() -> None:
    ledger = _Ledger(readers=2)
    for _ in range(2):
        assert ledger.opening()
        ledger.opened()
    survived = [ledger.opening() for _ in range(19)]
    assert survived == [True] * 18 + [False]
