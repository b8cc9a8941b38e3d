"""Twenty actions on a real station: each leaves exactly one valid message at a real syslog server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import httpx
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE

from cxrserve.multipart import related_body
from tests import radiographs
from tests.audit.syslog_server import syslog_server
from tests.audit.test_messages import parsed
from tests.pacs.certificates import Authority
from tests.stations import Station, station

TOKENS = {"viewer": "viewer-0123456789abcdef", "modality": "modality-0123456789abcdef"}
STUDY = "1.2.826.0.1.3680043.10.77"
IMAGE = f"{STUDY}.1"
CODES = {
    "predict": "110103",
    "read": "110103",
    "query": "110112",
    "store": "110104",
    "pull": "110104",
    "login": "110114",
    "refused": "110113",
    "start": "110100",
    "stop": "110100",
}


def _film(number: int) -> bytes:
    return radiographs.dicom(
        96,
        80,
        StudyInstanceUID=STUDY,
        SOPInstanceUID=f"{STUDY}.{number}",
        PatientName="Doe^Jane",
        PatientID="PATIENT-17",
        AccessionNumber="ACC-4711",
    )


def _c_store(node: Station, film: bytes) -> None:
    dataset = dcmread(DicomBytesIO(film))
    ae = AE("MODALITY")
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = ae.associate("127.0.0.1", node.dicom_port, ae_title="CXRSERVE")
    assert association.send_c_store(dataset).Status == 0
    association.release()


def test_twenty_actions_leave_one_message_each(
    tiny_bundle: Path, tmp_path: Path, chest_jpeg: bytes, chest_dicom: bytes
) -> None:
    authority = Authority(tmp_path / "ca")
    client = authority.signed("client")
    clients = tmp_path / "clients.toml"
    scopes = {"viewer": ["predict", "read", "pull"], "modality": ["store"]}
    clients.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = {scopes[name]}\n'
            for name, token in TOKENS.items()
        )
    )
    lines = tmp_path / "audit.jsonl"
    with syslog_server(authority, authority.signed("server")) as server:
        with (
            station(
                tiny_bundle,
                tmp_path / "archive",
                {"quiet_time_s": 0.1, "rules": [{"name": "all"}]},
                clients=clients,
                audit=f"syslog-tls://127.0.0.1:{server.port},file:{lines}",
                audit_tls_ca=authority.own.certificate,
                audit_tls_certificate=client.certificate,
                audit_tls_key=client.key,
                film_check="off",
            ) as node,
            httpx.Client(
                base_url=node.url, timeout=60, headers={"Authorization": f"Bearer {TOKENS['viewer']}"}
            ) as viewer,
            httpx.Client(
                base_url=node.url, timeout=60, headers={"Authorization": f"Bearer {TOKENS['modality']}"}
            ) as modality,
        ):
            assert len(server.wait(1)) == 1
            actions, polls = 0, 0

            def stow(*films: bytes) -> Callable[[], object]:
                body = related_body(films)
                headers = {"Content-Type": body.media_type}
                return lambda: modality.post("/dicom-web/studies", content=body.content, headers=headers)

            def after(action: str, user: str, outcome: str, act: Callable[[], object], *holds: str) -> None:
                nonlocal actions
                act()
                actions += 1
                messages = server.wait(1 + actions + polls)
                assert len(messages) == 1 + actions + polls, action
                xml = messages[-1].partition(b"\xef\xbb\xbf")[2]
                root = parsed(xml)
                (event_id,) = root.iter("EventID")
                assert event_id.get("csd-code") == CODES[action]
                assert root[0].get("EventOutcomeIndicator") == outcome, action
                person = root.find("ActiveParticipant")
                assert person is not None
                assert person.get("UserID") == user
                assert person.get("NetworkAccessPointID") == "127.0.0.1"
                for text in holds:
                    assert text.encode() in xml, (action, text)

            after("store", "MODALITY", "0", lambda: _c_store(node, _film(1)), STUDY, IMAGE)
            after("store", "modality", "0", stow(_film(2)), STUDY, f"{STUDY}.2")
            after("store", "modality", "4", stow(b"no image at all"))
            after("predict", "viewer", "0", lambda: viewer.post("/predict", content=chest_jpeg),
                  sha256(chest_jpeg).hexdigest())  # fmt: skip
            after("predict", "viewer", "0", lambda: viewer.post("/predict", content=_film(1)), STUDY)
            files = [("file", _film(1)), ("file", _film(2))]
            after("predict", "viewer", "0", lambda: viewer.post("/predict/study", files=files), STUDY)
            after("predict", "viewer", "0", lambda: viewer.post("/triage", content=_film(1)), STUDY)
            after("predict", "viewer", "0", lambda: viewer.post("/display", content=_film(1)),
                  sha256(_film(1)).hexdigest())  # fmt: skip
            after("predict", "viewer", "4", lambda: viewer.post("/predict", content=b"nothing"))
            until = time.monotonic() + 240
            state = ""
            while state != "done":
                assert time.monotonic() < until
                time.sleep(0.2)
                state = viewer.get(f"/studies/{STUDY}").json()["state"]
                polls += 1
                server.wait(1 + actions + polls)
            known = (STUDY, "PATIENT-17", "ACC-4711")
            after("query", "viewer", "0", lambda: viewer.get("/studies"), *known)
            after("query", "viewer", "0", lambda: viewer.get("/studies?search=doe"), *known)
            below = f"/studies/{STUDY}"
            for path in ("", f"/images/{IMAGE}", f"/images/{IMAGE}/answer", "/results", "/fhir"):
                after("read", "viewer", "0", partial(viewer.get, below + path), *known)
            after("read", "viewer", "4", lambda: viewer.get("/studies/1.2.3"), "1.2.3")
            after("pull", "viewer", "4", lambda: viewer.post(below), STUDY)
            after("login", "anonymous", "4", lambda: httpx.get(f"{node.url}/studies"))
            after("refused", "modality", "4", lambda: modality.get(below))

            assert actions == 20
            count = 1 + actions + polls
            # What shows no patient leaves nothing.
            tag = viewer.get("/studies").headers["ETag"]
            assert viewer.get("/studies", headers={"If-None-Match": tag}).status_code == 304
            for path in ("/healthz", "/readyz", "/model", "/docs"):
                viewer.get(path)
            assert len(server.wait(count + 2, 0.5)) == count + 1
            output = "\n".join(node.lines)
        messages = server.wait(count + 2)
        assert b"Application Stop" in messages[-1]
    assert len(server.messages) == count + 2, "one for each action and poll, for start, one list, and stop"
    assert len(lines.read_text().splitlines()) == len(messages)
    assert all(json.loads(line)["action"] for line in lines.read_text().splitlines())
    for patient in ("Doe", "PATIENT-17", "ACC-4711", STUDY):
        assert patient not in output
