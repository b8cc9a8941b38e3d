"""`cxrserve pacs queue`, and the example of the rules file."""

from __future__ import annotations

import json
from pathlib import Path

from pydicom.uid import generate_uid
from typer.testing import CliRunner, Result

from cxrserve.archive.rules import load_rules
from cxrserve.cli import app
from cxrserve.errors import ConfigurationError, RequestError
from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest, until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def queue(*arguments: str | Path, archive: Path) -> Result:
    """`cxrserve pacs queue` with these arguments."""
    command = ["pacs", "queue", *map(str, arguments), "--archive", str(archive)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def test_dead_letters_are_listed_shown_and_resent(open_archive: OpenArchive, tmp_path: Path) -> None:
    """Beside the running node."""
    peer, folder = Peer(), tmp_path / "archive"
    peer.error = away(retryable=False)
    archive = open_archive(folder, peer)
    receipt = archive.receive(chest(), SENDER)
    (dead,) = until(lambda: archive.letters.jobs("dead"))
    listed = queue("list", archive=folder)
    assert listed.exit_code == 0
    assert "dead" in listed.output
    assert "the peer did not take it" in listed.output
    shown = json.loads(queue("show", dead.id[:-2], archive=folder).output)
    assert shown["id"] == dead.id
    assert shown["study_instance_uid"] == receipt.study_instance_uid
    assert queue("retry", archive=folder).exit_code == 2, "neither ids nor --all"
    peer.error = None
    assert "1 dead letters will be tried" in queue("retry", dead.id, archive=folder).output
    until(lambda: peer.of("SR"))
    until(lambda: not archive.letters.jobs())
    assert "nothing waits" in queue("list", archive=folder).output
    assert "0 dead letters were given up" in queue("purge", "--all", archive=folder).output
    assert isinstance(queue("show", "f" * 30, archive=folder).exception, RequestError)


def test_what_was_set_aside_is_listed(open_archive: OpenArchive, tmp_path: Path) -> None:
    folder, uid = tmp_path / "archive", generate_uid()
    archive = open_archive(folder, rules={"quiet_time_s": 1000})
    for patient in "AB":
        archive.receive(chest(SOPInstanceUID=uid, PatientID=patient), SENDER)
    assert "1 objects were set aside" in queue("list", archive=folder).output
    listed = queue("quarantine", archive=folder).output
    assert uid in listed
    assert "other-content" in listed


def test_without_an_archive_it_says_so(tmp_path: Path) -> None:
    done = queue("list", archive=tmp_path / "nowhere")
    assert isinstance(done.exception, ConfigurationError)
    assert not (tmp_path / "nowhere").exists()


def test_the_example_of_the_rules_is_sound() -> None:
    rules = load_rules(DEPLOY / "rules.example.yaml")
    assert [rule.name for rule in rules.rules] == ["emergency", "chests"]
