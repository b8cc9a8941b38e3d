"""Rules that were changed while work was pending: nothing that was acknowledged goes out of sight."""

from __future__ import annotations

from pathlib import Path

from tests.archive.conftest import SENDER, OpenArchive, Peer, chest, study_of
from tests.waiting import until


def test_results_whose_rule_is_gone_wait_for_it(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer, folder = Peer(), tmp_path / "archive"
    archive = open_archive(folder, peer, {"quiet_time_s": 1.0})
    archive.receive(chest(), SENDER)
    archive.close()
    archive = open_archive(folder, peer, {"rules": [{"name": "renamed", "destinations": ["peer"]}]})
    (dead,) = until(lambda: archive.jobs.jobs("dead"))
    assert dead.problem is not None
    assert dead.problem["slug"] == "rule-gone"
    assert "no longer have the rule all" in dead.problem["detail"]
    archive.close()
    archive = open_archive(folder, peer)
    assert archive.jobs.retry(dead.id) == 1
    until(lambda: peer.of("SR"))
    assert sorted(each.Modality for each in peer.received) == ["OT", "PR", "SR"]


def test_results_whose_destination_is_gone_are_dead_letters(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    """Also those that were claimed before the change."""
    peer, folder = Peer(), tmp_path / "archive"
    peer.gate.clear()
    archive = open_archive(folder, peer, delivery_workers=1, shutdown_timeout_s=1)
    for receipt in [archive.receive(chest(), SENDER) for _ in range(2)]:
        study_of(archive, receipt)
    until(lambda: peer.tries)
    archive.close()
    peer.gate.set()
    archive = open_archive(folder, rules={"rules": [{"name": "all"}]})
    dead = until(lambda: found if len(found := archive.jobs.jobs("dead")) == 2 else None)
    assert all("no destination peer any more" in str(each.problem) for each in dead)
    archive.close()
    peer.received.clear()
    archive = open_archive(folder, peer)
    assert archive.jobs.retry() == 2
    until(lambda: len(peer.of("SR")) == 2)
