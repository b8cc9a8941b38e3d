"""No peer stops the intake of another: one address has only a share of the associations and of the bytes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from cxrserve.pacs import association_server
from cxrserve.pacs.incoming_datasets import ByteBudgets
from tests import dcmtk
from tests.pacs import upper_layer as ul
from tests.stations import Station, station

GREEDY = "127.0.0.9"
FULL = (ul.ASSOCIATE_RJ, bytes((0, 2, 3, 2)))  # transient, local limit exceeded: PS3.8 9.3.4


@pytest.fixture(scope="module")
def small(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with six places, of which three are for one address."""
    rules = {"quiet_time_s": 60, "rules": [{"name": "all", "match": {}}]}
    folder = tmp_path_factory.mktemp("small") / "archive"
    with station(tiny_bundle, folder, rules, dicom_max_associations=6) as running:
        yield running


def refused(port: int, source: str) -> tuple[int, bytes] | None:
    """The node's answer to one more association from `source`."""
    with ul.connect(port, source=source) as one_more:
        one_more.sendall(ul.associate_rq(ul.USUAL))
        return ul.answer(one_more)


def test_one_address_gets_half_of_the_places(small: Station) -> None:
    with ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(ul.associated(small.dicom_port, source=GREEDY))
        assert refused(small.dicom_port, GREEDY) == FULL
        small.said(rf"association from {GREEDY} rejected: it has 3 open")
        assert "Received Echo Response (Success)" in dcmtk.echoscu(small.dicom_port)


def test_a_peer_with_64_associations_and_slow_objects_stops_nobody(small: Station, chest_file: Path) -> None:
    sop_class = DigitalXRayImageStorageForPresentation
    with ExitStack() as opened:
        crowd: list[socket.socket] = []
        for _ in range(64):
            crowd.append(opened.enter_context(ul.connect(small.dicom_port, source=GREEDY)))
            crowd[-1].sendall(ul.associate_rq(ul.USUAL))
        answers = [ul.answer(connection) for connection in crowd]
        accepted = [
            connection
            for connection, answer in zip(crowd, answers, strict=True)
            if answer is not None and answer[0] == ul.ASSOCIATE_AC
        ]
        assert len(accepted) == 3
        for connection in accepted:  # the object begins and never ends
            connection.sendall(ul.p_data(3, 0b11, ul.store_rq(sop_class, generate_uid())))
            connection.sendall(ul.p_data(3, 0b00, os.urandom(1000)))
        assert "Received Echo Response (Success)" in dcmtk.echoscu(small.dicom_port)
        assert "Received Store Response (Success)" in dcmtk.storescu(small.dicom_port, chest_file)


def test_the_pending_connection_that_is_closed_is_one_of_the_busiest_address() -> None:
    server = association_server.AssociationServer.__new__(association_server.AssociationServer)
    first, second = socket.socketpair()
    with first, second:
        pending = {("10.0.0.1", 1): first} | {("10.0.0.2", port): second for port in range(5)}
        server._pending = pending  # type: ignore[misc]
        assert server._oldest() == ("10.0.0.2", 0)


def test_one_address_takes_only_its_share_of_the_bytes() -> None:
    budgets = ByteBudgets(100, 50)
    greedy = budgets.of("a")
    assert greedy.take(50)
    assert budgets.of("a") is greedy
    assert not budgets.of("a").take(1)
    modest = budgets.of("b")
    assert modest.take(50)
    third = budgets.of("c")
    assert not third.take(1)
    modest.give_back(50)
    assert third.take(1)
    assert not third.take(50)  # a share that is refused by the whole takes nothing
    assert third.take(49)


def test_an_idle_association_loses_its_place_when_all_are_taken(small: Station) -> None:
    """Two addresses hold all places and send nothing; then another gets the place of the longest idle."""
    with ExitStack() as opened:
        idle = [
            opened.enter_context(ul.associated(small.dicom_port, source=f"127.0.0.{8 + number // 3}"))
            for number in range(6)
        ]
        until = time.monotonic() + 60
        while (answer := refused(small.dicom_port, "127.0.0.7")) == FULL:
            assert time.monotonic() < until
            time.sleep(0.5)
        assert answer is not None
        assert answer[0] == ul.ASSOCIATE_AC
        aborted = ul.answer(idle[0])
        assert aborted is not None
        assert aborted[0] == ul.ABORT
        small.said("connection closed: another peer needs the place of an idle association")
