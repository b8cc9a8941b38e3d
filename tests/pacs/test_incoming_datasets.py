"""Objects on their way in: cut into fragments anyhow, cut off, and never more of them than is allowed."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.dsutils import encode

from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.errors import CxrserveError, OutOfResources, UnreadableImage
from cxrserve.pacs.incoming_datasets import COMMAND, LAST, ByteBudget, CStoreCommand, IncomingDatasets
from tests import dcmtk
from tests.pacs import upper_layer as ul
from tests.pacs.conftest import new_chest
from tests.stations import Station, station

MAX_BYTES = 40_000  # one small radiograph has half of that
STATUS = struct.pack("<HHL", 0x0000, 0x0900, 2)


@pytest.fixture(scope="module")
def narrow(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with room for one arriving object and a half."""
    archive = tmp_path_factory.mktemp("narrow") / "archive"
    rules = {"rules": [{"name": "all"}]}
    limits = {"max_upload_bytes": MAX_BYTES, "dicom_receive_bytes": MAX_BYTES}
    with station(tiny_bundle, archive, rules, "--no-http", **limits) as running:
        yield running


def chest(folder: Path, name: str = "chest.dcm") -> tuple[bytes, bytes]:
    """The command that announces a new radiograph, and its data set."""
    dataset = dcmread(new_chest(folder / name))
    return ul.store_rq(dataset.SOPClassUID, dataset.SOPInstanceUID), encode(dataset, False, True) or b""


def status(connection: socket.socket) -> int:
    """Of the response that comes next."""
    found = ul.answer(connection)
    assert found is not None
    place = found[1].index(STATUS) + len(STATUS)
    return int.from_bytes(found[1][place : place + 2], "little")


@pytest.mark.parametrize("size", [64, 5000, 100_000])
def test_command_and_data_set_may_be_cut_anywhere(narrow: Station, size: int, tmp_path: Path) -> None:
    command, data = chest(tmp_path)
    with ul.associated(narrow.dicom_port) as connection:
        connection.sendall(ul.p_data(3, COMMAND, command[:21]) + ul.p_data(3, COMMAND | LAST, command[21:]))
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        for piece in pieces[:-1]:
            connection.sendall(ul.p_data(3, 0, piece))
        connection.sendall(ul.p_data(3, LAST, pieces[-1]))
        assert status(connection) == 0x0000
    (kept,) = (each for each in narrow.archive.glob("objects/*/*.dcm") if each.read_bytes().endswith(data))
    assert dcmread(kept).SOPInstanceUID == dcmread(tmp_path / "chest.dcm").SOPInstanceUID


def test_two_requests_at_once_get_each_its_own_object(narrow: Station, tmp_path: Path) -> None:
    """Nobody agreed to that (PS3.7 D.3.3.3), and nothing may be mixed up by it."""
    (first, one), (second, two) = chest(tmp_path), chest(tmp_path, "second.dcm")
    with ul.associated(narrow.dicom_port) as connection:
        connection.sendall(
            ul.p_data(3, COMMAND | LAST, first)
            + ul.p_data(3, LAST, one)
            + ul.p_data(3, COMMAND | LAST, second)
            + ul.p_data(3, LAST, two)
        )
        found = {status(connection), status(connection)}
    assert found <= {0x0000, 0xA700}
    assert 0x0000 in found


def test_what_is_more_than_may_arrive_at_once_is_refused_for_now(narrow: Station, tmp_path: Path) -> None:
    command, data = chest(tmp_path)
    with ul.associated(narrow.dicom_port) as slow:
        slow.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, 0, data[:-2]))
        second = dcmtk.storescu(narrow.dicom_port, new_chest(tmp_path / "second.dcm"))
        assert "Received Store Response (Refused: OutOfResources)" in second
        slow.sendall(ul.p_data(3, LAST, data[-2:]))  # the first is not worse off for it
        assert status(slow) == 0x0000
        slow.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, 0, data[:-2]))
    # A peer that goes away within an object leaves its room to others.
    for attempt in range(20):
        said = dcmtk.storescu(narrow.dicom_port, new_chest(tmp_path / f"{attempt}.dcm"))
        if "Received Store Response (Success)" in said:
            return
    raise AssertionError(said)


def left_over(running: Station) -> list[str]:
    """Files of objects that are not finished, and those of objects that are still open."""
    files = [str(each) for each in running.archive.glob("incoming/*/*")]
    for each in Path(f"/proc/{running.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(each)
            files += [target] if "/incoming/" in target or "/objects/" in target else []
    return files


@pytest.mark.parametrize("aborted", [False, True])
def test_nothing_is_left_of_an_object_that_was_cut(narrow: Station, aborted: bool, tmp_path: Path) -> None:
    """By the line, or by an A-ABORT."""
    command, data = chest(tmp_path)
    kept = set(narrow.archive.glob("objects/*/*"))
    with ul.associated(narrow.dicom_port) as connection:
        connection.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, 0, data[:-2]))
        until = time.monotonic() + 10
        while not left_over(narrow):  # it is written while it comes
            assert time.monotonic() < until
            time.sleep(0.01)
        if aborted:
            connection.sendall(ul.pdu(ul.ABORT, bytes(4)))
            assert ul.answer(connection) is None
    until = time.monotonic() + 10
    while left_over(narrow):
        assert time.monotonic() < until, left_over(narrow)
        time.sleep(0.05)
    assert set(narrow.archive.glob("objects/*/*")) == kept
    with ul.associated(narrow.dicom_port) as connection:
        connection.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, LAST, data))
        assert status(connection) == 0x0000
    assert len(set(narrow.archive.glob("objects/*/*")) - kept) == 1


def test_another_object_than_was_announced_is_refused(narrow: Station, tmp_path: Path) -> None:
    command, data = chest(tmp_path)
    other, _ = chest(tmp_path, "other.dcm")
    with ul.associated(narrow.dicom_port) as connection:
        connection.sendall(ul.p_data(3, COMMAND | LAST, other) + ul.p_data(3, LAST, data))
        assert status(connection) == 0xA900
        connection.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, LAST, data))
        assert status(connection) == 0x0000
    assert not left_over(narrow)


class Files:
    """Makes files for what arrives, and counts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __call__(self, command: CStoreCommand) -> IncomingFile:
        """As `IncomingDatasets.begin`."""
        self.count += 1
        return IncomingFile(self.folder / str(self.count))


def incoming_in(folder: Path, max_bytes: int) -> tuple[IncomingDatasets, ByteBudget]:
    """The data sets of one connection, with a byte budget of its own."""
    budget = ByteBudget(max_bytes)
    incoming = IncomingDatasets(budget)
    incoming.begin = Files(folder)
    return incoming, budget


def test_the_allowance_is_given_back_however_an_object_ends(tmp_path: Path) -> None:
    incoming, budget = incoming_in(tmp_path, 100)
    store = bytearray(ul.store_rq("1.2", "1.3"))
    first, rest = memoryview(b"\x08\0\x05\0CS\0\0".ljust(60, b"\0")), memoryview(bytes(40))

    incoming.command(store, 3, LAST | COMMAND)
    incoming.write(first)
    incoming.write(rest)
    name = incoming.finish()
    assert not budget.take(1)
    dataset = incoming.take(name)
    assert dataset.command == CStoreCommand(context=3, sop_class_uid="1.2", sop_instance_uid="1.3")
    assert (dataset.size, dataset.file().header()) == (100, bytes(first) + bytes(rest))
    incoming.done(dataset)
    assert not list(tmp_path.iterdir())

    incoming.command(store, 3, LAST | COMMAND)
    incoming.write(first)
    incoming.write(first)  # there is no room for it, so its first part is deleted at once
    assert not list(tmp_path.iterdir())
    assert budget.take(100)
    budget.give_back(100)
    dropped = incoming.take(incoming.finish())
    with pytest.raises(OutOfResources):
        dropped.file()
    incoming.done(dropped)

    incoming.command(store, 3, LAST | COMMAND)
    incoming.write(first)
    never_taken = incoming.finish()
    incoming.command(store, 3, LAST | COMMAND)
    incoming.write(rest)
    incoming.command(store, 3, LAST | COMMAND)  # in the middle of a data set
    incoming.write(rest)
    assert len(list(tmp_path.iterdir())) == 2
    incoming.close()
    incoming.command(store, 3, LAST | COMMAND)  # what the kernel still had
    incoming.write(first)
    assert incoming.finish() == b""
    assert budget.take(100)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CxrserveError):
        incoming.take(never_taken)


def test_what_is_no_data_set_is_refused_and_the_rest_of_it_let_go(tmp_path: Path) -> None:
    incoming, budget = incoming_in(tmp_path, 2**24)
    incoming.command(bytearray(ul.store_rq("1.2", "1.3")), 3, LAST | COMMAND)
    for _ in range(10):
        incoming.write(memoryview(bytes(2**20)))
    assert budget.take(2**24)
    with pytest.raises(UnreadableImage):
        incoming.take(incoming.finish()).file()


def test_other_messages_are_left_as_they_are(tmp_path: Path) -> None:
    incoming, _ = incoming_in(tmp_path, 100)
    echo = ul.command(field=(0x0100, struct.pack("<H", 0x0030)), dataset=(0x0800, struct.pack("<H", 0x0101)))
    incoming.command(bytearray(echo), 3, LAST | COMMAND)
    assert not incoming.storing
    without = ul.command(field=(0x0100, struct.pack("<H", 1)), dataset=(0x0800, struct.pack("<H", 0x0101)))
    incoming.command(bytearray(without), 3, LAST | COMMAND)
    assert not incoming.storing
