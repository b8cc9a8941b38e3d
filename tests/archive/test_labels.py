"""Labels of readers: kept with who and when, over HTTP and by the typed client; exported for a site file."""

from __future__ import annotations

import csv
import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from typer.testing import CliRunner

from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.archive.archive import Archive
from cxrserve.audit.trail import open_trail
from cxrserve.cli.main import app
from cxrserve.client import Client, ServiceError
from cxrserve.errors import RequestError
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.labels import GivenLabel
from cxrserve.site.labels import read_labels
from tests.archive.conftest import SENDER, OpenArchive, chest, study_of
from tests.conftest import MakeSettings
from tests.servers import running_server
from tests.waiting import until

TOKENS = {"dr-a": "dr-a-0123456789abcdef", "dr-b": "dr-b-0123456789abcdef", "viewer": "viewer-0123456789abc"}
SCOPES = {"dr-a": ["read", "label"], "dr-b": ["read", "label"], "viewer": ["read", "predict"]}


def clients_file(folder: Path) -> Path:
    path = folder / "clients.toml"
    path.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\nscopes = {SCOPES[name]}\n'
            for name, token in TOKENS.items()
        )
    )
    return path


def export(folder: Path, out: Path, url: str, *arguments: str) -> str:
    environment = {"CXRSERVE_DATABASE_URL": url} if url else {}
    command = ["site", "labels", str(out), "--archive", str(folder), *arguments]
    done = CliRunner().invoke(app, command, env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_labels_are_kept_with_reader_and_time_and_exported(
    where: str,
    open_archive: OpenArchive,
    make_settings: MakeSettings,
    pipeline: Pipeline,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("postgres_url") if where == "postgresql" else ""
    folder, trail = tmp_path / "archive", tmp_path / "audit.jsonl"
    database: dict[str, Any] = {"database_url": url} if url else {}
    archive: Archive = open_archive(folder, **database)
    films = [chest(PatientID="P-SECRET", PatientName="Doe^Jane") for _ in range(2)]
    receipts = [archive.receive(film, SENDER) for film in films]
    for receipt in receipts:
        study_of(archive, receipt)
    study, other = (receipt.study_instance_uid for receipt in receipts)
    settings = make_settings(
        archive=folder, clients=clients_file(tmp_path), audit=f"file:{trail}", **database
    )
    with (
        open_trail(settings),
        running_server(Server(create_app(settings, pipeline, archive), settings)) as server,
        Client(server.url, token=TOKENS["dr-a"]) as first,
        Client(server.url, token=TOKENS["dr-b"]) as second,
        Client(server.url, token=TOKENS["viewer"]) as reader,
    ):
        said = json.loads(archive.worklist.report_file(study, "study.json") or b"")
        edema = next(finding for finding in said["findings"] if finding["finding"] == "Edema")
        assert edema["decision"] in ("present", "absent")
        opposite: Literal["present", "absent"] = "absent" if edema["decision"] == "present" else "present"
        given = first.give_labels(study, {"Edema": edema["decision"], "Fracture": "unsure"})
        assert {(label.finding, label.verdict, label.reader) for label in given.current} == {
            ("Edema", "agrees", "dr-a"),
            ("Fracture", None, "dr-a"),
        }
        later = second.give_labels(study, {"Edema": opposite, "Fracture": "withdrawn"})
        assert [(label.finding, label.verdict, label.reader) for label in later.current] == [
            ("Edema", "disagrees", "dr-b")
        ]
        assert [label.number for label in later.history] == [1, 2, 3, 4]
        assert later.current[0].probability == edema["probability"]
        assert said["model"]["sha256"] in later.current[0].model
        assert reader.labels(study) == later
        with pytest.raises(ServiceError, match="scope label"):
            reader.give_labels(study, {"Edema": "present"})
        with pytest.raises(ServiceError, match="404"):
            first.give_labels("1.2.3", {"Edema": "present"})
        post = f"{server.url}/studies/{study}/labels"
        headers = {"Authorization": f"Bearer {TOKENS['dr-a']}"}
        for body, status, words in (
            ({"labels": []}, 400, "labels"),
            ({"labels": [{"finding": "Dropsy", "label": "present"}]}, 400, "is no finding"),
            ({"labels": [{"finding": "Edema", "label": "perhaps"}]}, 400, "labels.0.label"),
            ({"labels": [{"finding": "Edema", "label": "absent"}] * 2}, 400, "once"),
            ({"labels": [], "more": "x" * 70_000}, 413, "65536"),
        ):
            refused = httpx.post(post, json=body, headers=headers)
            assert refused.status_code == status, refused.text
            assert words in refused.json()["detail"]
        assert httpx.post(post, content=b"Edema", headers=headers).status_code == 415
        assert len(first.labels(study).history) == 4, "what was refused left nothing"

        def events() -> list[dict[str, object]]:
            return [json.loads(line) for line in trail.read_text().splitlines()]

        good = until(
            lambda: [row for row in events() if row["action"] == "label" and row["outcome"] == "success"][1:]
        )
        assert (good[0]["user"], good[0]["studies"], good[0]["patients"]) == ("dr-b", [study], ["P-SECRET"])

        out = tmp_path / f"out-{where}"
        assert "1 labels of 1 films of 1 studies" in export(folder, out, url)
        table = (out / "labels.csv").read_text()
        assert "SECRET" not in table
        labels = read_labels(out / "labels.csv")
        assert labels.files == (f"{receipts[0].sha256}.dcm",)
        (row,) = csv.DictReader(table.splitlines())
        assert (row["patient"], row["Edema"], row["Fracture"]) == ("p1", str(int(opposite == "present")), "")
        assert (out / "films" / labels.files[0]).read_bytes() == films[0]
        first.give_labels(other, {"Edema": "absent"})
        export(folder, tmp_path / "both", url)
        assert read_labels(tmp_path / "both" / "labels.csv").patients == ("p1", "p1"), "one patient"
        with pytest.raises(RequestError, match="is there already"):
            export(folder, out, url)
        with pytest.raises(RequestError, match="no reader has given a label"):
            export(folder, tmp_path / "none", url, "--until", "2020-01-01")
        export(folder, tmp_path / "since", url, "--since", "2020-01-01")


def test_a_withdrawn_label_and_an_image_that_is_gone_are_not_exported(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    archive = open_archive(folder)
    receipt = archive.receive(chest(), SENDER)
    study_of(archive, receipt)
    archive.labels.give(
        receipt.study_instance_uid, [GivenLabel(finding="Edema", label="present")], reader="dr"
    )
    (folder / "objects" / receipt.sha256[:2] / f"{receipt.sha256}.dcm").unlink()
    assert "1 films are missing" in export(folder, tmp_path / "out", "")
    archive.labels.give(
        receipt.study_instance_uid, [GivenLabel(finding="Edema", label="withdrawn")], reader="dr"
    )
    with pytest.raises(RequestError, match="no reader has given a label"):
        export(folder, tmp_path / "again", "")
    assert archive.labels.of("1.2.3") is None
