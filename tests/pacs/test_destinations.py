"""Destinations that fail: nothing is lost, nothing hangs, and the next try delivers."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.rules import DimsePeer, Peer, WebPeer
from cxrserve.pacs.destinations import destinations_of
from cxrserve.pacs.echo import echo
from tests import dcmtk
from tests.orthanc import Orthanc, free_port, orthanc
from tests.pacs import upper_layer as ul
from tests.pacs.conftest import new_chest
from tests.stations import Station, station

# pynetdicom drops the socket of a connection that was refused, and leaves the closing to Python.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)


def peers(port: int, timeout_s: float = 1.0) -> list[Peer]:
    """The same address as a C-STORE and as a STOW-RS peer."""
    return [
        DimsePeer(protocol="dimse", ae_title="PEER", host="127.0.0.1", port=port, timeout_s=timeout_s),
        WebPeer(protocol="stow", url=f"http://127.0.0.1:{port}/dicom-web", timeout_s=timeout_s),
    ]


def deliver(peer: Peer, *objects: Path) -> None:
    destinations_of({"peer": peer}, "CXRSERVE")["peer"].send(objects)


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """A peer that accepts connections, says `answer`, and nothing more; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(answer)
                held.append(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for each in held:
            each.close()


@contextmanager
def storing(store: Callable[[Event], int]) -> Iterator[int]:
    """An SCP that answers a C-STORE with the status that `store` gives; its port."""
    entity = AE("PEER")
    entity.supported_contexts = AllStoragePresentationContexts
    port = free_port()
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield port
    finally:
        entity.shutdown()


def accepting() -> bytes:
    """An A-ASSOCIATE-AC that accepts one context, as implicit little endian or whatever was first."""
    head = struct.pack(">Hxx16s16s32x", 1, b"PEER".ljust(16), b"CXRSERVE".ljust(16))
    context = ul.item(0x21, struct.pack(">BxBx", 1, 0) + ul.item(0x40, b"1.2.840.10008.1.2.1"))
    user = ul.item(0x50, ul.item(0x51, struct.pack(">L", 16384)) + ul.item(0x52, b"1.2.3"))
    return ul.pdu(0x02, head + ul.item(0x10, b"1.2.840.10008.3.1.1.1") + context + user)


@pytest.mark.parametrize("kind", [0, 1])
def test_nobody_listens(kind: int, chest_file: Path) -> None:
    with pytest.raises(DeliveryError) as refused:
        deliver(peers(free_port())[kind], chest_file)
    assert refused.value.retryable


@pytest.mark.parametrize("kind", [0, 1])
def test_a_peer_that_accepts_and_never_answers(kind: int, chest_file: Path) -> None:
    with listening(b"") as port:
        started = time.monotonic()
        with pytest.raises(DeliveryError) as refused:
            deliver(peers(port)[kind], chest_file)
        assert time.monotonic() - started < 10
        assert refused.value.retryable


def test_a_peer_that_accepts_the_association_and_never_answers(chest_file: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.dcm"  # more than the buffers between us hold: the sending itself gets stuck
    dataset = dcmread(chest_file)
    dataset.Rows, dataset.Columns, dataset.PixelData = 3000, 2500, b"\0" * 15_000_000
    dataset.save_as(large)
    for path in (chest_file, large):
        with listening(accepting()) as port:
            started = time.monotonic()
            with pytest.raises(DeliveryError, match="did not answer a C-STORE") as refused:
                deliver(peers(port)[0], path)
            assert time.monotonic() - started < 10
            assert refused.value.retryable


def test_an_answer_of_an_error_is_told_apart(pacs: Orthanc, chest_file: Path) -> None:
    here = f"{pacs.url}/not-dicom-web"
    with pytest.raises(DeliveryError) as refused:
        deliver(WebPeer(protocol="stow", url=here), chest_file)
    assert "HTTP 404" in refused.value.detail


def store_response(*reasons: int, status: str = "202 Accepted", charset: str = "") -> bytes:
    items = ",".join(f'{{"00081197":{{"vr":"US","Value":[{each}]}}}}' for each in reasons)
    body = f'{{"00081198":{{"vr":"SQ","Value":[{items}]}}}}'.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/dicom+json{charset}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "retryable"),
    [
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", True, id="302"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nlog in", True, id="page"
        ),
        pytest.param(store_response(0xA700, charset="; charset=utf-8"), True, id="charset"),
        pytest.param(store_response(0xA700), True, id="out of resources"),
        pytest.param(store_response(0xC000), False, id="cannot understand"),
        pytest.param(store_response(0x0122), False, id="no such class"),
        pytest.param(store_response(0xA700, status="409 Conflict"), True, id="409, out of resources"),
        pytest.param(store_response(0x0122, status="409 Conflict"), False, id="409, no such class"),
    ],
)
def test_only_a_store_response_without_failures_is_success(
    answer: bytes, retryable: bool, chest_file: Path
) -> None:
    with listening(answer) as port, pytest.raises(DeliveryError) as refused:
        deliver(peers(port)[1], chest_file)
    assert refused.value.retryable == retryable


@pytest.mark.parametrize("status", ["202 Accepted", "409 Conflict"])
def test_what_a_web_peer_has_already_is_delivered(status: str, chest_file: Path) -> None:
    with listening(store_response(0x0111, status=status)) as port:
        deliver(peers(port)[1], chest_file)
    with listening(store_response(0x0111, 0xA700, status=status)) as port:
        with pytest.raises(DeliveryError, match="refused 1 of 2") as refused:
            deliver(peers(port)[1], chest_file, chest_file)
        assert refused.value.retryable


def test_what_a_peer_has_already_is_delivered(chest_file: Path, tmp_path: Path) -> None:
    kept: list[str] = []

    def store(event: Event) -> int:
        uid = str(event.dataset.SOPInstanceUID)
        if uid in kept:
            return 0x0111  # Duplicate SOP Instance: PS3.7 C.5.8
        kept.append(uid)
        return 0

    other = new_chest(tmp_path / "other.dcm")
    with storing(store) as port:
        deliver(peers(port)[0], chest_file)
        deliver(peers(port)[0], chest_file, other)
    assert kept == [str(dcmread(path).SOPInstanceUID) for path in (chest_file, other)]


def test_a_peer_that_takes_no_such_objects_is_not_asked_again(node: Station, tmp_path: Path) -> None:
    ct = new_chest(tmp_path / "ct.dcm", SOPClassUID=CTImageStorage)
    peer = DimsePeer(protocol="dimse", ae_title="CXRSERVE", host="127.0.0.1", port=node.dicom_port)
    with pytest.raises(DeliveryError, match="does not take CT Image Storage") as refused:
        deliver(peer, ct)
    assert not refused.value.retryable


def test_what_it_takes_arrives_beside_what_it_does_not(node: Station, tmp_path: Path) -> None:
    ct = new_chest(tmp_path / "ct.dcm", SOPClassUID=CTImageStorage)
    study = generate_uid()
    chest = new_chest(tmp_path / "chest.dcm", StudyInstanceUID=study)
    peer = DimsePeer(protocol="dimse", ae_title="CXRSERVE", host="127.0.0.1", port=node.dicom_port)
    with pytest.raises(DeliveryError, match="does not take CT Image Storage"):
        deliver(peer, ct, chest)
    assert httpx.get(f"{node.url}/studies/{study}").status_code == 200


def test_echo_over_both(pacs: Orthanc) -> None:
    dimse, web = peers(pacs.dicom_port, 10)
    assert echo(dimse, "CXRSERVE") > 0
    assert isinstance(web, WebPeer)
    assert echo(web.model_copy(update={"url": pacs.dicom_web}), "CXRSERVE") > 0
    for nobody in peers(free_port()):
        with pytest.raises(DeliveryError):
            echo(nobody, "CXRSERVE")


def test_a_pacs_that_is_down_gets_everything_once_it_is_back(tiny_bundle: Path, tmp_path: Path) -> None:
    dicom_port = free_port()
    rules = {
        "quiet_time_s": 0.2,
        "destinations": {
            "pacs": {
                "protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": dicom_port,
                "timeout_s": 5,
            }
        },
        "rules": [{"name": "all", "destinations": ["pacs"]}],
    }  # fmt: skip
    with station(tiny_bundle, tmp_path / "archive", rules, "--no-http", delivery_most_pause_s=1) as running:
        studies = []
        for number in range(3):
            file = new_chest(tmp_path / f"{number}.dcm")
            studies.append(str(dcmread(file).StudyInstanceUID))
            assert "Success" in dcmtk.storescu(running.dicom_port, file)
        running.said(r"attempt=2")  # nobody took the first
        with orthanc(tmp_path / "orthanc", dicom_port=dicom_port) as back:
            for study in studies:
                back.wait_for_study(study, 3)
            time.sleep(1)
            assert len(back.instances()) == 9  # and each of them once
