"""A disk that fills while an object comes: the sender is told so, nothing is half kept, and it goes on.

So it is with a database that is locked.
"""

from __future__ import annotations

import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom.dsutils import encode

from cxrserve.pacs.incoming_datasets import COMMAND, LAST
from tests import dcmtk, radiographs
from tests.archive.test_faults import locked
from tests.pacs import upper_layer as ul
from tests.pacs.conftest import new_chest
from tests.pacs.test_incoming_datasets import left_over, status
from tests.stations import Station, station

DISK_BYTES = 48 * 2**20
LEFT_BYTES = 2 * 2**20  # less than the film has; more than the databases need meanwhile
ROWS, COLUMNS = 1600, 1400


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """A file system of its own, and True; a plain folder where none may be mounted, and False."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def node(tiny_bundle: Path, disk: tuple[Path, bool]) -> Iterator[Station]:
    """A station that has its archive on that disk, and reads nothing for an hour."""
    rules = {"quiet_time_s": 3600, "rules": [{"name": "all"}]}
    with station(tiny_bundle, disk[0] / "archive", rules, "--no-http", database_timeout_s=1) as running:
        yield running


@pytest.fixture
def fill(disk: tuple[Path, bool], node: Station) -> Iterator[Callable[[], Callable[[], object]]]:
    """Fill the disk; what comes back makes room again."""
    folder, mounted = disk
    filler = folder / "filler"

    def full() -> Callable[[], object]:
        if not mounted:  # a process whose files may not grow is told the same as by a full disk
            limit = partial(resource.prlimit, node.process.pid, resource.RLIMIT_FSIZE)
            before = limit()
            limit((LEFT_BYTES, before[1]))
            return partial(limit, before)
        with filler.open("wb") as file:
            for _ in range((free_bytes(folder) - LEFT_BYTES) // 2**16):
                file.write(bytes(2**16))
        return filler.unlink

    with ExitStack() as cleaning:
        cleaning.callback(filler.unlink, missing_ok=True)
        yield full


def free_bytes(folder: Path) -> int:
    """What may still be written below `folder`."""
    found = subprocess.run(
        ["stat", "--file-system", "--format=%a %S", folder], check=True, capture_output=True
    )
    blocks, size = found.stdout.split()
    return int(blocks) * int(size)


def film(path: Path) -> Path:
    """A film that is larger than what is left."""
    made = radiographs.dataset(ROWS, COLUMNS, SOPInstanceUID=generate_uid(), StudyInstanceUID=generate_uid())
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.save_as(path, enforce_file_format=True)
    assert path.stat().st_size > 2 * LEFT_BYTES
    return path


def objects(running: Station) -> list[Path]:
    """Files of objects, finished or not."""
    return [
        *running.archive.glob("objects/*/*"),
        *running.archive.glob("quarantine/*"),
        *running.archive.glob("incoming/*/*"),
    ]


def sent(connection: socket.socket, path: Path) -> int:
    """Send an object by hand; the status of the answer."""
    dataset = dcmread(path)
    data = encode(dataset, False, True) or b""
    connection.sendall(ul.p_data(3, COMMAND | LAST, ul.store_rq(dataset.SOPClassUID, dataset.SOPInstanceUID)))
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)]
    for piece in pieces[:-1]:
        connection.sendall(ul.p_data(3, 0, piece))
    connection.sendall(ul.p_data(3, LAST, pieces[-1]))
    return status(connection)


def test_a_full_disk_is_out_of_resources_and_costs_only_time(
    node: Station, fill: Callable[[], Callable[[], object]], tmp_path: Path
) -> None:
    path = film(tmp_path / "film.dcm")
    before = objects(node)
    with ul.associated(node.dicom_port) as connection:
        make_room = fill()
        for _ in range(3):  # nor does it add up
            assert sent(connection, path) == 0xA700
            assert objects(node) == before
        make_room()
        assert sent(connection, path) == 0x0000  # in the same association
        (kept,) = set(objects(node)) - set(before)
        assert kept.read_bytes().endswith(dcmread(path).PixelData)
        assert sent(connection, path) == 0x0000
        assert set(objects(node)) == {*before, kept}
    assert not left_over(node)
    assert not any("Traceback" in line for line in node.lines), node.lines


def test_a_sender_of_others_is_told_so_too(
    node: Station, fill: Callable[[], Callable[[], object]], tmp_path: Path
) -> None:
    path, before = film(tmp_path / "film.dcm"), objects(node)
    make_room = fill()
    said = dcmtk.storescu(node.dicom_port, path)
    assert "Received Store Response (Refused: OutOfResources)" in said
    assert objects(node) == before
    make_room()
    small = dcmtk.storescu(node.dicom_port, new_chest(tmp_path / "next.dcm"))
    assert "Received Store Response (Success)" in small
    assert "Received Store Response (Success)" in dcmtk.storescu(node.dicom_port, path)
    assert len(objects(node)) == len(before) + 2


def test_a_locked_database_is_out_of_resources_and_costs_only_time(node: Station, tmp_path: Path) -> None:
    path, before = film(tmp_path / "film.dcm"), objects(node)
    with ul.associated(node.dicom_port) as connection:
        with locked(node.archive / "index.db"):
            assert sent(connection, path) == 0xA700
        assert not left_over(node)
        assert sent(connection, path) == 0x0000
    assert len(objects(node)) == len(before) + 1
