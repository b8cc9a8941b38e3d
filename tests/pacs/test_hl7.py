"""HL7 result messages: valid for another party's parser, acknowledged, and none lost or doubled."""

from __future__ import annotations

import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from pydicom.uid import generate_uid

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import Hl7Peer
from cxrserve.archive.tls_files import TlsFiles
from cxrserve.findings import NAMES
from cxrserve.pacs.destinations import destinations_of
from tests.pacs.certificates import Authority
from tests.pacs.conftest import new_chest
from tests.pacs.hl7_receiver import Receiver, receiving
from tests.stations import station
from tests.waiting import until

PATIENT: dict[str, Any] = {
    "PatientID": "A|4711",
    "PatientName": "Müller^Änne^^Dr.^MD",
    "PatientBirthDate": "19700102",
    "PatientSex": "F",
    "IssuerOfPatientID": "HOSPITAL",
    "AccessionNumber": "ACC-1",
    "SpecificCharacterSet": "ISO_IR 100",
    "StudyDate": "20260301",
    "StudyTime": "101112",
}


def rules(port: int, **peer: object) -> dict[str, object]:
    ris = {"protocol": "hl7", "host": "127.0.0.1", "port": port, "receiving_application": "RIS", **peer}
    return {
        "quiet_time_s": 0.2,
        "destinations": {"ris": ris},
        "rules": [{"name": "all", "destinations": ["ris"], "results": ["report"]}],
    }


def store(url: str, path: Path) -> None:
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n--B--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=B'
    answer = httpx.post(f"{url}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code == 200


@pytest.fixture(scope="module")
def study() -> str:
    return generate_uid()


@pytest.fixture(scope="module")
def message(tiny_bundle: Path, study: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The message of a study whose station was killed before it was acknowledged."""
    folder = tmp_path_factory.mktemp("hl7")
    with receiving() as receiver:
        receiver.gate.clear()
        with station(tiny_bundle, folder / "archive", rules(receiver.port)) as running:
            store(running.url, new_chest(folder / "chest.dcm", StudyInstanceUID=study, **PATIENT))
            until(lambda: len(receiver.messages) == 1)
            running.stop(signal.SIGKILL)
        receiver.gate.set()
        with station(tiny_bundle, folder / "archive", rules(receiver.port)) as running:
            running.said(r"job=\S+-ris attempt=1 state=done")
        assert len(receiver.messages) == 2, "nothing is sent again once it was acknowledged"
        first, second = receiver.messages
    assert first == second, "the same bytes, so the same control ID"
    return first


def test_a_message_is_valid_for_another_partys_parser(message: str) -> None:
    # A strict parse allows OBX-5 no more than 199 characters, whatever its type; `validate` is strict too.
    parsed = parse_message(message, validation_level=VALIDATION_LEVEL.TOLERANT)
    assert parsed.name == "ORU_R01"
    assert parsed.validate()
    without_order = parse_message(
        message.replace("\rOBR|", "\rZZZ|"), validation_level=VALIDATION_LEVEL.TOLERANT
    )
    with pytest.raises(HL7apyException):
        without_order.validate()


def test_a_message_names_patient_order_and_study(message: str, study: str) -> None:
    parsed = parse_message(message, find_groups=False)
    assert parsed.msh.msh_5.value == "RIS"
    assert parsed.msh.msh_18.value == "UNICODE UTF-8"
    assert len(parsed.msh.msh_10.value) == 20
    assert parsed.pid.pid_3.value == "A\\F\\4711^^^HOSPITAL^PI"
    assert parsed.pid.pid_5.value == "Müller^Änne^^MD^Dr."
    assert (parsed.pid.pid_7.value, parsed.pid.pid_8.value) == ("19700102", "F")
    assert parsed.obr.obr_3.value == "ACC-1"
    assert parsed.obr.obr_7.value == "20260301101112"
    assert parsed.obr.obr_25.value == "P"
    values = {segment.obx_3.obx_3_1.value: segment for segment in parsed.obx}
    assert values["113014"].obx_5.value == study
    assert "Research use only" in values["19005-8"].obx_5.value


def test_a_message_has_every_finding_with_its_operating_point(message: str) -> None:
    parsed = parse_message(message, find_groups=False)
    numbers = [segment for segment in parsed.obx if segment.obx_2.value == "NM"]
    assert 0 < len(numbers) <= len(NAMES)
    for segment in numbers:
        probability, limit = float(segment.obx_5.value), float(segment.obx_7.value.removeprefix("<"))
        assert segment.obx_8.value == ("A" if probability >= limit else "N")


@pytest.fixture
def file(message: str, tmp_path: Path) -> Path:
    path = tmp_path / "report.hl7"
    path.write_text(message, newline="")
    return path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def send(port: int, file: Path, **more: Any) -> None:
    peer = Hl7Peer(protocol="hl7", host=more.pop("host", "127.0.0.1"), port=port, **more)
    destinations_of({"ris": peer}, "CXRSERVE")["ris"].send([file])


@pytest.mark.parametrize(
    ("code", "control_id", "retryable"),
    [("AE", "", False), ("CE", "", False), ("AR", "", True), ("AA", "OTHER", True), ("", "", False)],
)
def test_a_refused_message_is_not_delivered(
    receiver: Receiver, file: Path, code: str, control_id: str, retryable: bool
) -> None:
    receiver.code, receiver.control_id = code, control_id
    with pytest.raises(DeliveryError) as refused:
        send(receiver.port, file)
    assert refused.value.retryable == retryable
    assert "4711" not in refused.value.detail


def test_a_receiver_that_does_not_acknowledge_or_listen(receiver: Receiver, file: Path) -> None:
    receiver.gate.clear()
    with pytest.raises(DeliveryError, match="did not acknowledge") as refused:
        send(receiver.port, file, timeout_s=0.5)
    assert refused.value.retryable
    with pytest.raises(DeliveryError, match="cannot be reached"):
        send(1, file)


def test_a_message_goes_by_tls_to_a_receiver_with_the_right_certificate(file: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server = authority.signed("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    with receiving(context) as running:
        trusted = TlsFiles(ca_file=authority.own.certificate)
        send(running.port, file, host="localhost", tls=trusted)
        assert len(running.messages) == 1
        other = TlsFiles(ca_file=Authority(tmp_path / "other").own.certificate)
        with pytest.raises(DeliveryError, match="cannot be reached"):
            send(running.port, file, host="localhost", tls=other)
        assert len(running.messages) == 1


def test_a_message_goes_in_the_character_set_of_the_receiver(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        received = bytearray()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                while not received.endswith(b"\x1c\r"):
                    received.extend(connection.recv(65536))
                control_id = bytes(received).split(b"|")[9]
                head = b"MSH|^~\\&|A|B|C|D|20260101||ACK|1|P|2.5.1\rMSA|AA|"
                connection.sendall(b"\x0b" + head + control_id + b"\r\x1c\r")

        thread = threading.Thread(target=answer)
        thread.start()
        send(server.getsockname()[1], file, character_set="8859/1")
        thread.join()
    assert b"|8859/1\r" in received
    assert "Müller^Änne".encode("latin-1") in received
