"""Bytes at the DICOM port that no peer should send: each is ended in time, and the next store succeeds."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from tests import dcmtk
from tests.pacs import upper_layer as ul
from tests.pacs.conftest import new_chest
from tests.stations import Station

DX = DigitalXRayImageStorageForPresentation
ENDED_WITHIN_S = 12.0  # idle time, ARTIM timer and a margin
MEBIBYTE = 2**20


@pytest.fixture(autouse=True)
def _the_next_good_store_succeeds(node: Station, tmp_path: Path) -> Iterator[None]:
    before = node.memory_bytes
    yield
    said = dcmtk.storescu(node.dicom_port, new_chest(tmp_path / "next.dcm"), options=("-aet", "KEEPER"))
    assert "Received Store Response (Success)" in said, "\n".join(node.lines[-20:])
    assert node.process.poll() is None
    assert node.memory_bytes < before + 150 * MEBIBYTE
    assert not any("Traceback" in line or "Exception in thread" in line for line in node.lines), node.lines


def speak(port: int, *chunks: bytes, associated: bool = False) -> list[int]:
    """Send `chunks`; the types of the PDUs that come back until the node ends the connection."""
    connection = ul.associated(port) if associated else ul.connect(port)
    kinds: list[int] = []
    with connection:
        try:
            for chunk in chunks:
                connection.sendall(chunk)
        except ConnectionError:
            pass  # it was ended before all was said
        started = time.monotonic()
        while (found := ul.answer(connection)) is not None:
            kinds.append(found[0])
        assert time.monotonic() - started < ENDED_WITHIN_S
    return kinds


def test_random_bytes(node: Station) -> None:
    for seed in range(20):
        noise = random.Random(seed)
        assert speak(node.dicom_port, noise.randbytes(noise.randrange(1, 5000))) in ([], [ul.ABORT])


def test_random_bytes_within_an_association(node: Station) -> None:
    for seed in range(10):
        noise = random.Random(seed)
        data = noise.randbytes(noise.randrange(8, 3000))
        assert speak(node.dicom_port, data, associated=True) in ([], [ul.ABORT])
        assert speak(node.dicom_port, ul.p_data(3, 3, data), associated=True) in ([], [ul.ABORT])


@pytest.mark.parametrize("count", [200, 10_000])
def test_more_presentation_contexts_than_there_are_identifiers(node: Station, count: int) -> None:
    one = ul.context(1, ul.VERIFICATION, ("1.2.840.10008.1.2",))
    started = time.monotonic()
    assert speak(node.dicom_port, ul.associate_rq(one * count)) in ([], [ul.ABORT])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", [0x01, 0x04, 0x05, 0x07])
def test_a_length_of_4_gb(node: Station, kind: int) -> None:
    flood = ul.pdu(kind, b"\0" * MEBIBYTE, 0xFFFFFFFF)
    assert speak(node.dicom_port, flood) in ([], [ul.ABORT])
    assert speak(node.dicom_port, flood, associated=True) in ([], [ul.ABORT])


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0xFF])
def test_a_type_that_is_wrong_or_out_of_order(node: Station, kind: int) -> None:
    body = b"\0\0\0\0"
    assert speak(node.dicom_port, ul.pdu(kind, body)) in ([], [ul.ABORT])
    if kind not in (0x05, 0x07):  # which end an association as they should
        assert speak(node.dicom_port, ul.pdu(kind, body), associated=True) in ([], [ul.ABORT])


def test_a_second_request_within_an_association(node: Station) -> None:
    assert speak(node.dicom_port, ul.associate_rq(ul.USUAL), associated=True) in ([], [ul.ABORT])


@pytest.mark.parametrize(
    "fragment",
    [
        struct.pack(">LBB", 0, 1, 3),
        struct.pack(">LBB", 1, 1, 3),
        struct.pack(">LBB", 0xFFFFFFFF, 1, 3) + b"abc",
        struct.pack(">LBB", 500, 1, 3) + b"abc",
        b"\0",
    ],
)
def test_fragments_that_do_not_add_up(node: Station, fragment: bytes) -> None:
    assert speak(node.dicom_port, ul.pdu(0x04, fragment), associated=True) in ([], [ul.ABORT])


def test_a_data_set_without_a_command_and_a_context_that_is_not_there(node: Station) -> None:
    for sent in (
        ul.p_data(3, 0b10, b"\x08\0\x05\0" * 100),
        ul.p_data(99, 0b11, ul.store_rq(DX, generate_uid())) + ul.p_data(99, 0b10, b"\0" * 100),
        ul.p_data(3, 0b11, ul.command(field=(0x0100, b"\x99\x99"), data=(0x0800, b"\x01\x01"))),
        ul.p_data(3, 0b11, ul.store_rq(DX, "1." + "2" * 64)) + ul.p_data(3, 0b10, b"\0" * 100),
    ):
        assert speak(node.dicom_port, sent, associated=True) in ([], [ul.ABORT])


def test_a_command_without_end(node: Station) -> None:
    assert speak(
        node.dicom_port, *[ul.p_data(3, 0b01, b"\0" * 16_000) for _ in range(20)], associated=True
    ) in ([], [ul.ABORT])


def test_an_object_that_is_too_large_is_ended_while_it_comes(node: Station) -> None:
    fragment = ul.p_data(3, 0b00, b"\0" * 120_000)
    with ul.associated(node.dicom_port) as connection:
        connection.sendall(ul.p_data(3, 0b11, ul.store_rq(DX, generate_uid())))
        sent = 0
        try:
            while sent < 400 * MEBIBYTE:
                connection.sendall(fragment)
                sent += len(fragment)
        except ConnectionError:
            pass
        assert sent < 200 * MEBIBYTE  # 128 are allowed, the rest stands in buffers


def _idle(port: int) -> socket.socket:
    return ul.connect(port)


def _half_open(port: int) -> socket.socket:
    connection = ul.connect(port)
    connection.sendall(ul.associate_rq(ul.USUAL)[:40])
    return connection


def _silent_association(port: int) -> socket.socket:
    return ul.associated(port)


def _half_a_pdu(port: int) -> socket.socket:
    connection = ul.associated(port)
    connection.sendall(ul.p_data(3, 0b11, ul.store_rq(DX, generate_uid()))[:30])
    return connection


@pytest.mark.parametrize("opened", [_idle, _half_open, _silent_association, _half_a_pdu])
def test_silence_is_ended(node: Station, opened: Callable[[int], socket.socket]) -> None:
    assert ul.seconds_until_closed(opened(node.dicom_port)) < ENDED_WITHIN_S


def test_a_pdu_that_trickles_is_ended(node: Station) -> None:
    request = ul.associate_rq(ul.USUAL)
    started = time.monotonic()
    with ul.connect(node.dicom_port) as connection:
        try:
            for byte in request * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        except ConnectionError:
            pass
    assert time.monotonic() - started < ENDED_WITHIN_S


@pytest.mark.parametrize("opened", [_idle, _half_open])
def test_a_thousand_connections_that_say_nothing(
    node: Station, opened: Callable[[int], socket.socket], tmp_path: Path
) -> None:
    threads = node.threads
    crowd: list[socket.socket] = []
    try:
        for _ in range(1000):
            try:
                crowd.append(opened(node.dicom_port))
            except ConnectionError:
                continue
        said = dcmtk.storescu(node.dicom_port, new_chest(tmp_path / "x.dcm"), options=("-aet", "KEEPER"))
        assert "Received Store Response (Success)" in said  # while they all stand there
        assert node.threads < threads + 120
    finally:
        for each in crowd:
            each.close()


def test_more_associations_than_are_allowed_are_rejected_for_now(node: Station) -> None:
    opened = [ul.associated(node.dicom_port, source=f"127.0.0.{number % 4 + 2}") for number in range(16)]
    try:
        with ul.connect(node.dicom_port) as one_more:
            one_more.sendall(ul.associate_rq(ul.USUAL))
            assert ul.answer(one_more) == (ul.ASSOCIATE_RJ, bytes((0, 2, 3, 2)))
    finally:
        for each in opened:
            each.close()
    until = time.monotonic() + ENDED_WITHIN_S
    while "Echo Response (Success)" not in dcmtk.echoscu(node.dicom_port):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_flood_of_echoes(node: Station) -> None:
    said = dcmtk.echoscu(node.dicom_port, "--repeat", "300")
    assert said.count("Received Echo Response (Success)") >= 300


def test_the_sender_is_cut_off_in_the_middle_of_a_store(node: Station) -> None:
    kept = sum("outcome=kept" in line for line in node.lines)
    with ul.associated(node.dicom_port) as connection:
        connection.sendall(ul.p_data(3, 0b11, ul.store_rq(DX, generate_uid())))
        connection.sendall(ul.p_data(3, 0b00, os.urandom(60_000)) * 3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
    time.sleep(0.5)
    assert sum("outcome=kept" in line for line in node.lines) == kept
