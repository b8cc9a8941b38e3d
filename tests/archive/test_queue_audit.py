"""Jobs that are tried again or given up are in the audit trail, each once, with the user who did it."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest
from tests.archive.test_queue_cli import queue
from tests.waiting import until


def test_each_change_of_the_queue_leaves_one_event(
    open_archive: OpenArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, folder, trail = Peer(), tmp_path / "archive", tmp_path / "audit.jsonl"
    peer.error = away(retryable=False)
    archive = open_archive(folder, peer)
    study = archive.receive(chest(), SENDER).study_instance_uid
    (dead,) = until(lambda: archive.jobs.jobs("dead"))
    monkeypatch.setenv("CXRSERVE_AUDIT", f"file:{trail}")
    assert queue("list", archive=folder).exit_code == 0  # which changes nothing
    assert queue("retry", dead.short_id, archive=folder).exit_code == 0
    until(lambda: archive.jobs.jobs("dead"))
    assert queue("purge", "--all", archive=folder).exit_code == 0
    assert queue("purge", dead.id, archive=folder).exit_code != 0  # done by now
    events = [json.loads(line) for line in trail.read_text().splitlines()]
    user = getpass.getuser()
    assert [(event["action"], event["user"], event["detail"]) for event in events] == [
        ("retry", user, dead.id),
        ("purge", user, "all"),
    ]
    assert all(event["studies"] == [study] for event in events)
