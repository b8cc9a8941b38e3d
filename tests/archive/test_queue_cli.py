"""`cxrserve pacs queue`, and the example of the rules file."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from pydicom.uid import generate_uid
from typer.testing import CliRunner, Result

from cxrserve.archive.rules_file import load_rules
from cxrserve.cli.main import app
from cxrserve.errors import ConfigurationError, RequestError
from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest
from tests.waiting import until

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
    (dead,) = until(lambda: archive.jobs.jobs("dead"))
    listed = queue("list", archive=folder)
    assert listed.exit_code == 0
    assert "dead" in listed.output
    assert "the peer did not take it" in listed.output
    assert dead.short_id in listed.output
    for name in (dead.id, dead.id[:-2], dead.id[:8], dead.short_id):  # its study's job begins the same
        shown = json.loads(queue("show", name, archive=folder).output)
        assert shown["id"] == dead.id
    (row,) = json.loads(queue("list", "--json", archive=folder).output)
    assert (row["id"], row["short_id"], row["state"]) == (dead.id, dead.short_id, "dead")
    assert shown["study_instance_uid"] == receipt.study_instance_uid
    assert queue("retry", archive=folder).exit_code == 2, "neither ids nor --all"
    peer.error = None
    assert "1 jobs will be tried again" in queue("retry", dead.short_id, archive=folder).output
    until(lambda: peer.of("SR"))
    until(lambda: not archive.jobs.jobs())
    assert "no jobs are waiting" in queue("list", archive=folder).output
    assert "0 jobs were given up" in queue("purge", "--all", archive=folder).output
    assert isinstance(queue("show", "f" * 30, archive=folder).exception, RequestError)


def test_waiting_jobs_are_tried_at_once_or_given_up(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer, folder = Peer(), tmp_path / "archive"
    peer.error = away(retryable=True)
    archive = open_archive(folder, peer, delivery_max_pause_s=3600)
    for _ in range(2):
        archive.receive(chest(StudyInstanceUID=generate_uid(), SOPInstanceUID=generate_uid()), SENDER)
    until(lambda: len([job for job in archive.jobs.jobs("waiting") if job.attempts]) == 2)
    first, second = archive.jobs.jobs("waiting")

    def pauses(job: str) -> bool:
        return archive.jobs.find(job).due > time.time() + 1.5

    until(lambda: pauses(first.id))
    assert "in " in queue("list", archive=folder).output, "the time until the next try"
    assert "1 jobs were given up" in queue("purge", first.short_id, archive=folder).output
    assert isinstance(queue("purge", first.id, archive=folder).exception, RequestError), "it is done"
    until(lambda: pauses(second.id))
    peer.error = None
    assert "1 jobs will be tried again" in queue("retry", second.short_id, archive=folder).output
    until(lambda: not archive.jobs.jobs())
    assert len(peer.of("SR")) == 1


def test_an_id_of_several_jobs_is_answered_with_their_short_ids(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    folder, peer = tmp_path / "archive", Peer()
    archive = open_archive(folder, peer)
    archive.receive(chest(), SENDER)
    until(lambda: len(archive.jobs.jobs("done")) == 2)
    study, delivery = archive.jobs.jobs("done")
    error = queue("show", study.id[:8], archive=folder).exception
    assert isinstance(error, RequestError)
    assert study.short_id in error.detail
    assert delivery.short_id in error.detail


def test_quarantined_objects_are_listed(open_archive: OpenArchive, tmp_path: Path) -> None:
    folder, uid = tmp_path / "archive", generate_uid()
    archive = open_archive(folder, rules={"quiet_time_s": 1000})
    for patient in "AB":
        archive.receive(chest(SOPInstanceUID=uid, PatientID=patient), SENDER)
    assert "1 objects are in quarantine" in queue("list", archive=folder).output
    listed = queue("quarantine", archive=folder).output
    assert uid in listed
    assert "other-content" in listed


def test_a_peer_cannot_write_markup(open_archive: OpenArchive, tmp_path: Path) -> None:
    """An AE title may hold brackets, which rich would take for markup and fail on."""
    folder, uid = tmp_path / "archive", generate_uid()
    archive = open_archive(folder, rules={"quiet_time_s": 1000})
    for patient in "AB":
        archive.receive(
            chest(SOPInstanceUID=uid, PatientID=patient), replace(SENDER, calling_ae="[/x] [bold]A")
        )
    assert "[/x] [bold]A" in queue("quarantine", archive=folder).output


def test_without_an_archive_it_says_so(tmp_path: Path) -> None:
    done = queue("list", archive=tmp_path / "nowhere")
    assert isinstance(done.exception, ConfigurationError)
    assert not (tmp_path / "nowhere").exists()


def test_the_example_of_the_rules_is_sound() -> None:
    rules = load_rules(DEPLOY / "rules.example.yaml")
    assert [rule.name for rule in rules.rules] == ["emergency", "chests"]
