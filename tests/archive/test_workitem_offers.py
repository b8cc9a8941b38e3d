"""Jobs of workitems in the queue, before any manager is asked."""

from __future__ import annotations

from pathlib import Path

from cxrserve.archive.archive import Archive
from cxrserve.pipeline.pipeline import Pipeline
from tests.archive.conftest import OpenArchive
from tests.conftest import MakeSettings
from tests.waiting import until


def test_a_workitem_is_offered_once_and_its_transaction_uid_is_kept(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    """An archive without managers leaves it to other nodes."""
    archive = open_archive(tmp_path / "archive")
    assert archive.workitems.offer("chest", "1.2.3")
    assert not archive.workitems.offer("chest", "1.2.3")
    assert not archive.workitems.offer("renamed", "1.2.3"), "the same workitem under another name of the list"
    assert archive.workitems.offer("chest", "1.2.4")
    assert (archive.workitems.open_workitems("chest"), archive.workitems.open_workitems("other")) == (2, 0)
    tasks = [job.workitem for job in archive.jobs.jobs("waiting")]
    assert {task.workitem_uid for task in tasks if task} == {"1.2.3", "1.2.4"}
    transactions = {task.transaction_uid for task in tasks if task}
    archive.close()
    again = open_archive(tmp_path / "archive")
    assert {job.workitem.transaction_uid for job in again.jobs.jobs() if job.workitem} == transactions


def test_a_workitem_of_a_worklist_that_the_rules_lost_is_a_dead_letter(
    pipeline: Pipeline, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(archive=tmp_path / "archive", archive_min_free_bytes=1)
    with Archive.open(settings, pipeline, {}, managers={}) as archive:
        archive.workitems.offer("chest", "1.2.3")
        (dead,) = until(lambda: archive.jobs.jobs("dead"))
        assert dead.problem is not None
        assert "the rules name no worklist chest any more" in dead.problem["detail"]
        assert archive.workitems.open_workitems("chest") == 0
        assert archive.jobs.purge(dead.id) == 1
        assert not archive.workitems.offer("chest", "1.2.3"), "what a person gave up is not claimed again"
