"""Quarantine over HTTP: listed with both patients; released, moved or dropped, with who did it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import httpx
from pydicom.uid import generate_uid

from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.audit.trail import open_trail
from cxrserve.pipeline.pipeline import Pipeline
from tests.archive.conftest import SENDER, OpenArchive, chest, study_of
from tests.archive.test_corrections import RIGHT, TEMPORARY, with_elements
from tests.conftest import MakeSettings
from tests.servers import running_server
from tests.waiting import until

TOKENS = {"dr-a": "dr-a-0123456789abcdef", "viewer": "viewer-0123456789abc"}
SCOPES = {"dr-a": ["read", "quarantine"], "viewer": ["read"]}


def server_counts(url: str, client: str) -> int:
    """Objects in quarantine, as the worklist says."""
    headers = {"Authorization": f"Bearer {TOKENS[client]}"}
    count: int = httpx.get(f"{url}/studies", headers=headers, timeout=60).json()["quarantined"]
    return count


def test_a_quarantined_object_is_listed_and_decided_on(
    open_archive: OpenArchive, make_settings: MakeSettings, pipeline: Pipeline, tmp_path: Path
) -> None:
    clients = tmp_path / "clients.toml"
    clients.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = {SCOPES[name]}\n'
            for name, token in TOKENS.items()
        )
    )
    folder, trail, study = tmp_path / "archive", tmp_path / "audit.jsonl", generate_uid()
    archive = open_archive(folder)
    receipt = archive.receive(chest(study, **TEMPORARY), SENDER)
    study_of(archive, receipt)
    held = [archive.receive(chest(study, rows=rows, **RIGHT), SENDER) for rows in (96, 104, 112)]
    assert {each.outcome for each in held} == {"held"}
    release, move, drop = held

    settings = make_settings(archive=folder, clients=clients, audit=f"file:{trail}")
    with (
        open_trail(settings),
        running_server(Server(create_app(settings, pipeline, archive), settings)) as server,
    ):

        def ask(path: str, client: str = "dr-a", method: str = "POST") -> httpx.Response:
            headers = {"Authorization": f"Bearer {TOKENS[client]}"}
            return httpx.request(method, f"{server.url}/quarantine{path}", headers=headers, timeout=60)

        listed = ask("", "viewer", "GET").json()
        assert {each["sha256"] for each in listed} == {each.sha256 for each in held}
        assert {(each["patient_id"], each["study_patient_id"]) for each in listed} == {("REAL-1", "TMP-1")}
        assert listed[0]["decisions"] == ["release", "move", "drop"]
        assert [each["may_decide"] for each in (listed[0], ask("", "dr-a", "GET").json()[0])] == [False, True]
        assert listed[0]["patient_name"] == "Müller^Änne"
        assert (listed[0]["accession_number"], listed[0]["study_accession_number"]) == ("", "E-1")
        assert server_counts(server.url, "viewer") == 3

        file = ask(f"/{drop.sha256}", "viewer", "GET")
        assert sha256(file.content).hexdigest() == drop.sha256
        assert ask(f"/{'0' * 64}", "viewer", "GET").status_code == 404

        assert ask(f"/{drop.sha256}/drop", "viewer").status_code == 403
        assert ask(f"/{drop.sha256}/burn").status_code == 400
        assert ask(f"/{'0' * 64}/drop").status_code == 400
        assert len(ask("", "viewer", "GET").json()) == 3, "what was refused changed nothing"

        assert ask(f"/{drop.sha256}/drop").status_code == 204
        assert ask(f"/{drop.sha256}/drop").status_code == 400, "it is gone"
        assert ask(f"/{move.sha256}/move").status_code == 204
        until(lambda: len(study_of(archive, receipt).images) == 2)
        assert study_of(archive, receipt).patient_id == "TMP-1"
        assert ask(f"/{release.sha256}/release").status_code == 204
        until(lambda: len(study_of(archive, receipt).images) == 3)
        assert study_of(archive, receipt).patient_id == "REAL-1"
        assert ask("", "viewer", "GET").json() == []
        assert ask(f"/{drop.sha256}", "viewer", "GET").status_code == 404
        assert server_counts(server.url, "viewer") == 0

        def done() -> list[dict[str, object]]:
            rows = [json.loads(line) for line in trail.read_text().splitlines()]
            return [row for row in rows if row.get("user") == "dr-a" and row["outcome"] == "success"]

        until(lambda: len(done()) >= 3)
        events = done()
        assert all(row["address"] and "REAL-1" in str(row.get("patients")) for row in events), events
        rows = [json.loads(line) for line in trail.read_text().splitlines()]
        (seen,) = [row for row in rows if row["action"] == "read" and row["outcome"] == "success"]
        assert (seen["user"], seen["patients"]) == ("viewer", ["REAL-1", "TMP-1"])


def test_a_copy_of_a_stored_image_cannot_be_moved(open_archive: OpenArchive, tmp_path: Path) -> None:
    """It is stored under its study's patient already: moving it would be refused."""
    rules = {
        "servers": {"pacs": {"url": "http://127.0.0.1:9"}},
        "patients": {"conflicts": "pacs", "source": "pacs"},
    }
    archive = open_archive(tmp_path / "archive", rules=rules)
    file = chest(**TEMPORARY)
    receipt = archive.receive(file, SENDER)
    study_of(archive, receipt)
    assert archive.receive(with_elements(file, PatientID="REAL-1"), SENDER).outcome == "held"
    other = chest(receipt.study_instance_uid, rows=104, PatientID="REAL-1")
    assert archive.receive(other, SENDER).outcome == "held"
    copy, image = archive.quarantine.objects()
    assert copy.sop_instance_uid == receipt.sop_instance_uid
    assert copy.decisions == ["release", "drop"]
    assert image.decisions == ["release", "move", "drop"]
    assert archive.quarantine.count() == 2
