"""Objects on their way in: cut into fragments anyhow, and never more of them than there is memory."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.dsutils import encode

from cxrserve.errors import CxrserveError, OutOfResources
from cxrserve.pacs.arrivals import COMMAND, LAST, Arrivals, Memory
from tests import dcmtk
from tests.pacs import upper_layer as ul
from tests.pacs.conftest import new_chest
from tests.stations import Station, station

MOST_BYTES = 40_000  # one small radiograph has half of that
STATUS = struct.pack("<HHL", 0x0000, 0x0900, 2)


@pytest.fixture(scope="module")
def narrow(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with memory for one object and a half."""
    archive = tmp_path_factory.mktemp("narrow") / "archive"
    rules = {"rules": [{"name": "all"}]}
    limits = {"max_upload_bytes": MOST_BYTES, "dicom_receive_bytes": MOST_BYTES}
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


def test_what_memory_cannot_hold_is_refused_for_now(narrow: Station, tmp_path: Path) -> None:
    command, data = chest(tmp_path)
    with ul.associated(narrow.dicom_port) as slow:
        slow.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, 0, data[:-2]))
        second = dcmtk.storescu(narrow.dicom_port, new_chest(tmp_path / "second.dcm"))
        assert "Received Store Response (Refused: OutOfResources)" in second
        slow.sendall(ul.p_data(3, LAST, data[-2:]))  # the first is not worse off for it
        assert status(slow) == 0x0000
        slow.sendall(ul.p_data(3, COMMAND | LAST, command) + ul.p_data(3, 0, data[:-2]))
    # A peer that goes away within an object leaves its memory to others.
    for attempt in range(20):
        said = dcmtk.storescu(narrow.dicom_port, new_chest(tmp_path / f"{attempt}.dcm"))
        if "Received Store Response (Success)" in said:
            return
    raise AssertionError(said)


def test_memory_is_given_back_however_an_object_ends() -> None:
    memory = Memory(100)
    arrivals = Arrivals(memory)
    store = memoryview(ul.store_rq("1.2", "1.3"))

    arrivals.command(store, LAST | COMMAND)
    assert arrivals.fragment(memoryview(bytes(60)), 0) == b""
    name = arrivals.fragment(memoryview(bytes(40)), LAST)
    assert not memory.take(1)
    arrival = arrivals.take(name)
    assert arrival.part10(b"head") == b"head" + bytes(100)
    arrivals.done(arrival)

    arrivals.command(store, LAST | COMMAND)
    arrivals.fragment(memoryview(bytes(60)), 0)
    dropped = arrivals.take(arrivals.fragment(memoryview(bytes(60)), LAST))
    with pytest.raises(OutOfResources):
        dropped.part10(b"")
    arrivals.done(dropped)

    arrivals.command(store, LAST | COMMAND)
    arrivals.fragment(memoryview(bytes(50)), LAST)
    arrivals.command(store, LAST | COMMAND)
    arrivals.fragment(memoryview(bytes(50)), 0)
    arrivals.close()
    assert memory.take(100)
    with pytest.raises(CxrserveError):
        arrivals.take(name)


def test_other_messages_are_left_as_they_are() -> None:
    arrivals = Arrivals(Memory(100))
    echo = ul.command(field=(0x0100, struct.pack("<H", 0x0030)), dataset=(0x0800, struct.pack("<H", 0x0101)))
    arrivals.command(memoryview(echo), LAST | COMMAND)
    assert not arrivals.storing
    without = ul.command(field=(0x0100, struct.pack("<H", 1)), dataset=(0x0800, struct.pack("<H", 0x0101)))
    arrivals.command(memoryview(without), LAST | COMMAND)
    assert not arrivals.storing
