"""Destinations that fail: nothing is lost, nothing hangs, and the next try delivers."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    CTImageStorage,
    EnhancedSRStorage,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext, build_context

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import DimsePeer, Peer, WebPeer
from cxrserve.pacs.destinations import destinations_of
from cxrserve.pacs.echo import echo
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.dicom import image_results, read_source, study_report
from cxrserve.settings import Settings
from tests import dcmtk, radiographs
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


def answer_of(status: str, body: str = "", media_type: str = "application/dicom+json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n" if body else f"HTTP/1.1 {status}\r\n"
    length = "" if status.startswith("204") else f"Content-Length: {len(body)}\r\n"
    return f"{head}{length}Connection: close\r\n\r\n{body}".encode()


def confirming(*uids: str) -> str:
    """A Store Instances Response that names these as stored."""
    items = ",".join(f'{{"00081155":{{"vr":"UI","Value":["{uid}"]}}}}' for uid in uids)
    return f'{{"00081199":{{"vr":"SQ","Value":[{items}]}}}}'


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer_of("200 OK"), id="200, empty"),
        pytest.param(answer_of("202 Accepted"), id="202, empty"),
        pytest.param(answer_of("204 No Content"), id="204"),
        pytest.param(answer_of("200 OK", "{}"), id="empty JSON"),
        pytest.param(answer_of("200 OK", "[]"), id="list"),
        pytest.param(answer_of("202 Accepted", confirming()), id="empty sequence"),
        pytest.param(answer_of("200 OK", confirming("1.2.3")), id="another object"),
        pytest.param(
            answer_of("200 OK", "<NativeDicomModel/>", "application/dicom+xml"), id="empty DICOM XML"
        ),
    ],
)
def test_nothing_is_delivered_that_the_peer_does_not_confirm(answer: bytes, chest_file: Path) -> None:
    """A proxy answers 200 all the time."""
    with listening(answer) as port, pytest.raises(DeliveryError, match=r"confirm|no Store Inst") as refused:
        deliver(peers(port)[1], chest_file)
    assert refused.value.retryable


def test_each_object_must_be_confirmed(chest_file: Path, tmp_path: Path) -> None:
    other = new_chest(tmp_path / "other.dcm")
    uids = [str(dcmread(path).SOPInstanceUID) for path in (chest_file, other)]
    with listening(answer_of("200 OK", confirming(*uids))) as port:
        deliver(peers(port)[1], chest_file, other)
    with (
        listening(answer_of("200 OK", confirming(uids[0]))) as port,
        pytest.raises(DeliveryError, match="did not confirm 1 of 2"),
    ):
        deliver(peers(port)[1], chest_file, other)


@pytest.fixture(scope="module")
def results(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Overlay, presentation state and report of one image; the report replaces another one."""
    folder = tmp_path_factory.mktemp("results")
    with Pipeline(Settings(bundle=tiny_bundle, threads=1, decode_workers=1)) as pipeline:
        data = radiographs.dicom()
        source = read_source(pipeline.header(data, timeout_s=30))
        bundle = pipeline.predictor.bundle
        when = datetime(2026, 3, 4)
        summary, objects = image_results(source, pipeline.read(data, preview_side=256), bundle, when=when)
        first = study_report([source], [summary], [], bundle, when=when)
        again = study_report(
            [source], [summary], [], bundle, when=when, revision=2, predecessor=first.reference
        )
    paths = []
    for each in (*objects, first, again):
        paths.append(folder / f"{each.sop_instance_uid}.dcm")
        paths[-1].write_bytes(each.part10)
    return paths


@contextmanager
def archive_of(folder: Path, *contexts: PresentationContext) -> Iterator[int]:
    """A PACS that accepts these contexts only, and keeps what it gets in `folder`; its port."""
    folder.mkdir()

    def store(event: Event) -> int:
        request = cast(C_STORE, event.request)
        (folder / f"{request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    entity = AE("PEER")
    entity.supported_contexts = list(contexts)
    port = free_port()
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield port
    finally:
        entity.shutdown()


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([Comprehensive3DSRStorage, ComprehensiveSRStorage], Comprehensive3DSRStorage),
        ([ComprehensiveSRStorage, EnhancedSRStorage], ComprehensiveSRStorage),
        ([EnhancedSRStorage], EnhancedSRStorage),
    ],
)
def test_a_report_arrives_in_the_first_class_that_the_peer_knows(
    known: list[str], expected: str, results: list[Path], tmp_path: Path
) -> None:
    first, again = results[-2:]
    with archive_of(tmp_path / "pacs", *map(build_context, known)) as port:
        deliver(peers(port, 10)[0], first, again)
        deliver(peers(port, 10)[0], first, again)
    stored = {int(report.InstanceNumber): report for report in map(dcmread, (tmp_path / "pacs").iterdir())}
    assert len(list((tmp_path / "pacs").iterdir())) == len(stored) == 2, "the same objects each time"
    assert {report.SOPClassUID for report in stored.values()} == {expected}
    before = stored[2].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == stored[1].SOPInstanceUID, "the one that this PACS has"
    assert before.ReferencedSOPClassUID == expected
    kept = dcmread(first).SOPInstanceUID
    assert (stored[1].SOPInstanceUID == kept) == (expected == Comprehensive3DSRStorage)
    for path in (tmp_path / "pacs").iterdir():
        checked = dcmtk.run("dciodvfy", path).stdout
        assert not [line for line in checked.splitlines() if line.startswith("Error")], checked
        assert "Conclusion" in dcmtk.run("dsrdump", path).stdout


def test_the_rules_choose_the_class_of_reports(results: list[Path], tmp_path: Path) -> None:
    knows_all = [build_context(each) for each in (Comprehensive3DSRStorage, EnhancedSRStorage)]
    with archive_of(tmp_path / "pacs", *knows_all) as port:
        peer = peers(port, 10)[0].model_copy(update={"report_class": "enhanced"})
        deliver(peer, results[-1])
    (path,) = (tmp_path / "pacs").iterdir()
    assert dcmread(path).SOPClassUID == EnhancedSRStorage


def test_a_peer_without_compression_gets_the_overlay_without(results: list[Path], tmp_path: Path) -> None:
    overlay = next(path for path in results if dcmread(path).file_meta.TransferSyntaxUID == RLELossless)
    plain = build_context(SecondaryCaptureImageStorage, [ImplicitVRLittleEndian])
    with archive_of(tmp_path / "pacs", plain) as port:
        deliver(peers(port, 10)[0], overlay)
    with archive_of(tmp_path / "modern", build_context(SecondaryCaptureImageStorage, RLELossless)) as port:
        deliver(peers(port, 10)[0], overlay)
    (stored,), (compressed,) = (list((tmp_path / name).iterdir()) for name in ("pacs", "modern"))
    assert dcmread(compressed).file_meta.TransferSyntaxUID == RLELossless
    assert stored.stat().st_size > 4_000_000 > compressed.stat().st_size
    assert np.array_equal(dcmread(stored).pixel_array, dcmread(overlay).pixel_array)
    assert stored.name == compressed.name


def test_every_kind_that_a_peer_refuses_is_named(results: list[Path], tmp_path: Path) -> None:
    with (
        archive_of(tmp_path / "pacs", build_context(SecondaryCaptureImageStorage, RLELossless)) as port,
        pytest.raises(DeliveryError) as refused,
    ):
        deliver(peers(port, 10)[0], *results)
    assert not refused.value.retryable
    assert "does not accept Comprehensive 3D SR Storage" in refused.value.detail
    assert "does not accept Grayscale Softcopy Presentation State Storage" in refused.value.detail
    assert len(list((tmp_path / "pacs").iterdir())) == 1, "the overlay arrived"


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
    with pytest.raises(DeliveryError, match="does not accept CT Image Storage") as refused:
        deliver(peer, ct)
    assert not refused.value.retryable


def test_what_it_takes_arrives_beside_what_it_does_not(node: Station, tmp_path: Path) -> None:
    ct = new_chest(tmp_path / "ct.dcm", SOPClassUID=CTImageStorage)
    study = generate_uid()
    chest = new_chest(tmp_path / "chest.dcm", StudyInstanceUID=study)
    peer = DimsePeer(protocol="dimse", ae_title="CXRSERVE", host="127.0.0.1", port=node.dicom_port)
    with pytest.raises(DeliveryError, match="does not accept CT Image Storage"):
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
    with station(tiny_bundle, tmp_path / "archive", rules, "--no-http", delivery_max_pause_s=1) as running:
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
