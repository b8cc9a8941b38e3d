"""STOW-RS into the station, by dicomweb-client and by hand."""

from __future__ import annotations

import socket
import struct
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import UID, generate_uid

from tests.orthanc import Orthanc
from tests.pacs.conftest import new_chest
from tests.pacs.test_end_to_end import results_of
from tests.stations import Station

BOUNDARY = "the-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
REFERENCED, FAILED, REASON = "00081199", "00081198", "00081197"


def body(*parts: bytes, boundary: str = BOUNDARY, kind: str = "application/dicom") -> bytes:
    head = f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def post(
    node: Station, content: bytes, *, content_type: str = CONTENT_TYPE, path: str = "studies"
) -> httpx.Response:
    return httpx.post(
        f"{node.url}/dicom-web/{path}", content=content, headers={"Content-Type": content_type}, timeout=60
    )


def failures(answer: httpx.Response) -> list[int]:
    found: dict[str, Any] = answer.json()
    return [each[REASON]["Value"][0] for each in found.get(FAILED, {}).get("Value", [])]


def test_by_a_library_with_results_in_the_pacs(
    node: Station, pacs: Orthanc, phantom_file: Path, tmp_path: Path
) -> None:
    dataset = dcmread(phantom_file)
    answer = DICOMwebClient(f"{node.url}/dicom-web").store_instances([dataset])
    (kept,) = answer.ReferencedSOPSequence
    assert kept.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
    assert "FailedSOPSequence" not in answer
    assert len(results_of(phantom_file, pacs, tmp_path).files) == 3


def test_good_and_bad_together(node: Station, tmp_path: Path) -> None:
    good = new_chest(tmp_path / "good.dcm").read_bytes()
    answer = post(node, body(good, b"no DICOM at all", good[:200], b""))
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/dicom+json"
    (kept,) = answer.json()[REFERENCED]["Value"]
    assert set(kept) == {"00081150", "00081155"}, "no Retrieve URL: there is no WADO-RS here"
    assert failures(answer) == [0xC000] * 3


def test_all_bad(node: Station) -> None:
    assert post(node, body(b"no", b"neither")).status_code == 409
    assert post(node, body(b"<x/>", kind="application/dicom+xml")).status_code == 409


def test_another_study_than_the_path_says(node: Station, tmp_path: Path) -> None:
    chest = new_chest(tmp_path / "chest.dcm")
    answer = post(node, body(chest.read_bytes()), path=f"studies/{generate_uid()}")
    assert (answer.status_code, failures(answer)) == (409, [0xA900])
    study = dcmread(chest).StudyInstanceUID
    assert post(node, body(chest.read_bytes()), path=f"studies/{study}").status_code == 200


def test_the_same_twice_and_the_same_uid_with_other_content(node: Station, tmp_path: Path) -> None:
    chest = new_chest(tmp_path / "chest.dcm")
    assert post(node, body(chest.read_bytes())).status_code == 200
    assert post(node, body(chest.read_bytes())).status_code == 200
    other = new_chest(tmp_path / "other.dcm", SOPInstanceUID=dcmread(chest).SOPInstanceUID)
    answer = post(node, body(other.read_bytes()))
    assert (answer.status_code, failures(answer)) == (409, [0x0111])


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (body(b"x", boundary="another"), CONTENT_TYPE, 400),
        (body(b"x")[:-8], CONTENT_TYPE, 400),
        (b"", CONTENT_TYPE, 400),
        (b"\0" * 1000, CONTENT_TYPE, 400),
        (body(b"x"), 'multipart/related; type="application/dicom"', 400),
        (body(b"x"), 'multipart/related; type="application/dicom+xml"; boundary=x', 415),
        (body(b"x"), "application/dicom", 415),
        (body(b"x"), "", 415),
        (body(*[b""] * 2000), CONTENT_TYPE, 413),
        (f"--{BOUNDARY}\r\nX: {'y' * 100_000}\r\n\r\n".encode(), CONTENT_TYPE, 400),
        (f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + b"\0" * (129 * 2**20),
         CONTENT_TYPE, 413),
    ],
)  # fmt: skip
def test_a_broken_request_is_a_problem(node: Station, content: bytes, content_type: str, status: int) -> None:
    try:
        answer = post(node, content, content_type=content_type)
    except httpx.TransportError:
        assert len(content) > 2**20  # ended while it was being sent
        return
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("uid", ["1.2.3/4", "../../etc/passwd", "1.2.abc", ".1.777777", "1." + "2" * 63])
def test_a_uid_that_is_none_is_refused(node: Station, uid: str, tmp_path: Path) -> None:
    with disable_value_validation():
        odd = new_chest(tmp_path / "odd.dcm", SOPInstanceUID=UID(uid))
    good = new_chest(tmp_path / "good.dcm")
    answer = post(node, body(odd.read_bytes(), good.read_bytes()))
    assert (answer.status_code, failures(answer)) == (202, [0xC000])
    assert uid not in answer.text


def test_the_network_is_cut_in_the_middle(node: Station, tmp_path: Path) -> None:
    """What was whole by then is kept once, and of the rest nothing; the sender sends it all again."""
    first, second = (new_chest(tmp_path / f"{number}.dcm").read_bytes() for number in (1, 2))
    whole = body(first, second)
    seen = len(node.lines)
    url = httpx.URL(node.url)
    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(whole)}\r\n\r\n"
        )
        connection.sendall(head.encode() + whole[: -len(second) // 2])
        node.said(rf"received={sha256(first).hexdigest()} outcome=kept")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
    again = post(node, whole)
    assert again.status_code == 200
    said = [line for line in node.lines[seen:] if "received=" in line]
    assert [f"received={sha256(each).hexdigest()}" in line for each, line in zip(
        (first, first, second), said, strict=True
    )] == [True] * 3  # fmt: skip
    assert ["outcome=duplicate" in line for line in said] == [False, True, False]
    assert "Traceback" not in "\n".join(node.lines[seen:])


def test_patients_stay_out_of_answers_and_logs(node: Station, tmp_path: Path) -> None:
    bad = new_chest(tmp_path / "bad.dcm", PatientName="Secret^Stow", SOPInstanceUID="1.2.3")
    answer = post(node, body(bad.read_bytes()[:-50_000], b"Secret^Stow"))
    time.sleep(0.2)
    assert "Secret" not in answer.text + "\n".join(node.lines)


def test_uids_with_leading_zeros_are_accepted(node: Station, tmp_path: Path) -> None:
    """PS3.5 9.1 forbids them, and whole modalities write them: UIDs are compared and repeated, no more."""
    unique = generate_uid()[-12:]
    uids = {
        keyword: f"1.2.840.0113.{number}.{unique}"
        for number, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
    }
    with disable_value_validation():
        file = new_chest(tmp_path / "zeros.dcm", **uids)
    answer = post(node, body(file.read_bytes()))
    assert (answer.status_code, failures(answer)) == (200, [])
    assert httpx.get(f"{node.url}/studies/{uids['StudyInstanceUID']}").status_code == 200
