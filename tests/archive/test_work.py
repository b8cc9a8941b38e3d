"""From kept to delivered: studies, revisions, refusals, destinations that are away, restarts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import Dataset
from pydicom.uid import generate_uid

import cxrserve
from cxrserve.archive.archive import Archive
from cxrserve.archive.rules import Retention
from cxrserve.archive.storage.files import ObjectExpired
from cxrserve.archive.storage.retention import Expiry
from cxrserve.archive.storage.tables import JOBS
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.answer import Answer
from cxrserve.settings import Settings
from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest, study_of
from tests.waiting import until

LONG = {"quiet_time_s": 1000}


def images_of(report: Dataset) -> set[str]:
    """The images that a report rests on."""
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return {
        str(each.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    }


def test_a_study_is_read_and_its_results_are_delivered(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer, study = Peer(), generate_uid()
    archive = open_archive(tmp_path / "archive", peer)
    receipts = [archive.receive(chest(study), SENDER) for _ in range(2)]
    found = study_of(archive, receipts[0])
    assert found.state == "done"
    assert found.positive
    assert [image.state for image in found.images] == ["done", "done"]
    until(lambda: peer.of("SR"))
    assert sorted(each.Modality for each in peer.received) == ["OT", "OT", "PR", "PR", "SR"]
    (report,) = peer.of("SR")
    assert report.StudyInstanceUID == study
    assert {each.sop_instance_uid for each in receipts} <= images_of(report)
    answer = archive.worklist.answer(study, receipts[0].sop_instance_uid)
    assert answer is not None
    assert Answer.model_validate_json(answer).image.sop_instance_uid == receipts[0].sop_instance_uid
    assert len(archive.worklist.results(study)) == 5
    until(lambda: not archive.jobs.jobs())  # the end of a delivery is noted after the peer has it


def test_a_late_image_makes_a_new_report_and_nothing_twice(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer, study = Peer(), generate_uid()
    archive = open_archive(tmp_path / "archive", peer)
    first = archive.receive(chest(study), SENDER)
    until(lambda: peer.of("SR"))
    late = archive.receive(chest(study), SENDER)
    until(lambda: len(peer.of("SR")) == 2)
    old, new = peer.of("SR")
    assert images_of(old) & {first.sop_instance_uid, late.sop_instance_uid} == {first.sop_instance_uid}
    assert {first.sop_instance_uid, late.sop_instance_uid} <= images_of(new)
    assert old.SOPInstanceUID != new.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in old
    (before,) = new.PredecessorDocumentsSequence
    (series,) = before.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert (old.InstanceNumber, new.InstanceNumber) == (1, 2)
    assert len(peer.of("PR")) == 2, "the first image's results went out again"
    assert len(archive.worklist.results(study)) == 5, "only the newest report is given out"


def test_a_report_that_a_disk_has_damaged_holds_up_no_later_one(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    peer, study = Peer(), generate_uid()
    archive = open_archive(tmp_path / "archive", peer)
    archive.receive(chest(study), SENDER)
    until(lambda: peer.of("SR"))
    (report,) = (tmp_path / "archive" / "results").glob("*/*/report.dcm")
    report.write_bytes(report.read_bytes()[:100])
    archive.receive(chest(study), SENDER)
    until(lambda: len(peer.of("SR")) == 2)
    assert "PredecessorDocumentsSequence" not in peer.of("SR")[1]


def test_a_rule_says_what_goes_where(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    rules = {
        "rules": [
            {"name": "ap", "match": {"view": "AP"}, "destinations": ["peer"], "results": ["report"]},
            {"name": "rest"},
        ]
    }
    archive = open_archive(tmp_path / "archive", peer, rules)
    kept = archive.receive(chest(), SENDER)
    sent = archive.receive(chest(ViewPosition="AP"), SENDER)
    assert study_of(archive, kept).state == "done"
    until(lambda: peer.received)
    assert [each.Modality for each in peer.received] == ["SR"]
    assert peer.received[0].StudyInstanceUID == sent.study_instance_uid


def test_each_destination_of_a_rule_has_its_results(pipeline: Pipeline, tmp_path: Path) -> None:
    ris, pacs = Peer(), Peer()
    rules = {
        "quiet_time_s": 0.2,
        "destinations": {name: {"protocol": "stow", "url": "http://peer"} for name in ("ris", "pacs")},
        "rules": [
            {
                "name": "all",
                "destinations": ["pacs", {"name": "ris", "results": ["report"]}],
                "results": ["overlay"],
            }
        ],
    }
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    settings = Settings(archive=tmp_path / "archive", rules=path, archive_min_free_bytes=1)
    with Archive.open(settings, pipeline, {"ris": ris, "pacs": pacs}) as archive:
        archive.receive(chest(), SENDER)
        until(lambda: ris.received and pacs.received)
        until(lambda: not archive.jobs.jobs())
    assert [each.Modality for each in ris.received] == ["SR"]
    assert [each.Modality for each in pacs.received] == ["OT"]


def test_a_refusal_is_said_where_the_rule_sends_no_reports(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer, study = Peer(), generate_uid()
    rules = {"rules": [{"name": "all", "destinations": ["peer"], "results": ["overlay"]}]}
    archive = open_archive(tmp_path / "archive", peer, rules)
    archive.receive(chest(study), SENDER)
    until(lambda: peer.received)
    assert [each.Modality for each in peer.received] == ["OT"]
    refused = archive.receive(chest(study, PresentationIntentType="FOR PROCESSING"), SENDER)
    until(lambda: len(peer.received) == 2)
    assert peer.received[1].Modality == "SR"
    assert refused.sop_instance_uid in images_of(peer.received[1])


def test_what_cannot_be_judged_gets_a_report_that_says_so(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer)
    receipt = archive.receive(chest(PresentationIntentType="FOR PROCESSING"), SENDER)
    found = study_of(archive, receipt)
    assert found.state == "refused"
    assert found.positive is None
    assert found.images[0].problem is not None
    assert found.images[0].problem.slug == "not-for-presentation"
    until(lambda: peer.received)
    assert [each.Modality for each in peer.received] == ["SR"]
    assert archive.worklist.answer(receipt.study_instance_uid, receipt.sop_instance_uid) is None


def test_a_flipped_bit_fails_the_study_with_that_reason(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive", rules={"quiet_time_s": 1})
    receipt = archive.receive(chest(), SENDER)
    (path,) = (tmp_path / "archive" / "objects").glob("*/*.dcm")
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    found = study_of(archive, receipt)
    assert found.state == "failed"
    assert found.images[0].problem is not None
    assert found.images[0].problem.slug == "damaged-in-archive"
    assert not archive.has(receipt.sop_instance_uid, receipt.sop_class_uid)


def test_a_destination_that_is_down_costs_only_time(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    peer.error = away()
    archive = open_archive(tmp_path / "archive", peer, delivery_max_pause_s=0.2)
    receipt = archive.receive(chest(), SENDER)
    assert study_of(archive, receipt).state == "done"
    until(lambda: peer.tries >= 4)
    (waiting,) = archive.jobs.jobs()
    assert waiting.state == "waiting"
    assert waiting.problem is not None
    assert waiting.problem["slug"] == "not-delivered"
    peer.error = None
    until(lambda: peer.of("SR"))
    until(lambda: not archive.jobs.jobs())
    assert sorted(each.Modality for each in peer.received) == ["OT", "PR", "SR"]


def test_what_is_refused_for_good_is_a_dead_letter_until_it_is_resent(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    peer = Peer()
    peer.error = away(retryable=False)
    archive = open_archive(tmp_path / "archive", peer)
    archive.receive(chest(), SENDER)
    (dead,) = until(lambda: archive.jobs.jobs("dead"))
    assert dead.attempts == peer.tries == 1
    assert dead.destination == "peer"
    peer.error = None
    assert archive.jobs.retry(dead.id) == 1
    until(lambda: peer.of("SR"))
    until(lambda: not archive.jobs.jobs())


def test_trying_ends_and_a_dead_letter_can_be_purged(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    peer.error = away()
    archive = open_archive(tmp_path / "archive", peer, delivery_max_pause_s=0.1, delivery_give_up_s=0.2)
    archive.receive(chest(), SENDER)
    until(lambda: archive.jobs.jobs("dead"))
    assert peer.tries >= 3
    assert archive.jobs.purge() == 1
    assert not archive.jobs.jobs()


def test_a_destination_that_hangs_holds_up_no_reading(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    peer.gate.clear()
    archive = open_archive(tmp_path / "archive", peer, delivery_workers=1, shutdown_timeout_s=1)
    receipts = [archive.receive(chest(), SENDER) for _ in range(3)]
    assert {study_of(archive, each).state for each in receipts} == {"done"}
    assert len([job for job in archive.jobs.jobs("waiting") if job.kind == "delivery"]) == 3
    peer.gate.set()
    until(lambda: len(peer.of("SR")) == 3)


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_a_restart_takes_up_what_was_left(
    open_archive: OpenArchive, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    """Also after an upgrade: the version of the code is no part of what finds its work again."""
    settings: dict[str, Any] = {}
    if where == "postgres":
        settings = {"database_url": request.getfixturevalue("postgres_url"), "node_name": "restarted"}
    peer = Peer()
    peer.error = away()
    archive = open_archive(tmp_path / "archive", peer, **settings)
    delivered = archive.receive(chest(), SENDER)
    study_of(archive, delivered)
    archive.close()
    archive = open_archive(tmp_path / "archive", peer, LONG, **settings)
    waiting = archive.receive(chest(), SENDER)
    archive.close()
    peer.error = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cxrserve, "__version__", "99.0.0")
        archive = open_archive(tmp_path / "archive", peer, **settings)
        until(lambda: len(peer.of("SR")) == 1)
        archive.close()
    # The second study's quiet time was written down when it came; a new image asks for the new one.
    archive = open_archive(tmp_path / "archive", peer, **settings)
    assert study_of(archive, waiting, "receiving").state == "receiving"


def test_stat_goes_before_routine(open_archive: OpenArchive, tmp_path: Path) -> None:
    peer = Peer()
    rules = {
        "quiet_time_s": 1.5,
        "rules": [
            {"name": "er", "match": {"view": "AP"}, "priority": "stat", "destinations": ["peer"]},
            {"name": "rest", "destinations": ["peer"]},
        ],
    }
    archive = open_archive(tmp_path / "archive", peer, rules, study_workers=1, delivery_workers=1)
    for _ in range(5):
        archive.receive(chest(), SENDER)
    stat = archive.receive(chest(ViewPosition="AP"), SENDER)
    assert study_of(archive, stat).priority == "stat"
    until(lambda: len(peer.of("SR")) == 6)
    order = [str(each.StudyInstanceUID) for each in peer.of("SR")]
    assert order.index(stat.study_instance_uid) <= 2


def test_a_dead_letter_of_many_tries_is_soon_tried_again(open_archive: OpenArchive, tmp_path: Path) -> None:
    """Its pauses had grown to minutes; who asks for a retry does not wait for one."""
    peer = Peer()
    peer.error = away(retryable=False)
    archive = open_archive(tmp_path / "archive", peer)
    archive.receive(chest(), SENDER)
    (dead,) = until(lambda: archive.jobs.jobs("dead"))
    with archive._database.writing() as connection:
        connection.execute(JOBS.update().where(JOBS.c.id == dead.id).values(attempts=12))
    peer.error = None
    assert archive.jobs.retry(dead.id) == 1
    until(lambda: peer.of("SR"))


def test_images_expire_and_results_stay(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive")
    receipt = archive.receive(chest(), SENDER)
    study_of(archive, receipt)
    waiting = archive.receive(chest(PatientID="later"), SENDER)
    store, index = archive._store, archive._database
    keep = Retention(images_days=1)
    assert Expiry(store, index, time.time).run(keep) == 0
    study_of(archive, waiting)
    assert Expiry(store, index, lambda: 2e9 * 2).run(keep) == 2
    assert not list((tmp_path / "archive" / "objects").glob("*/*.dcm"))
    uids = receipt.study_instance_uid, receipt.sop_instance_uid
    with pytest.raises(ObjectExpired):
        archive.worklist.image(*uids)
    assert archive.worklist.answer(*uids) is not None
    found = study_of(archive, receipt)
    assert found.images[0].expired
    late = archive.receive(chest(receipt.study_instance_uid), SENDER)
    until(lambda: len(study_of(archive, late).images) == 2)
    assert study_of(archive, late).state == "done"


def test_files_that_no_row_names_are_swept(open_archive: OpenArchive, tmp_path: Path) -> None:
    """What a process that was killed between a file and its row has left, and no file of anybody else's."""
    folder = tmp_path / "archive"
    archive = open_archive(folder, rules=LONG)
    receipt = archive.receive(chest(), SENDER)
    aside = archive.receive(chest(SOPInstanceUID=receipt.sop_instance_uid, PatientName="B"), SENDER)
    store, index = archive._store, archive._database
    kept = {store.object_path(receipt.sha256), store.quarantine_path(aside.sha256)}
    left = {store.object_path("ab" * 32), store.quarantine_path("cd" * 32)}
    young = store.object_path("ef" * 32)  # its row may still come
    for path in left | {young}:
        path.write_bytes(b"left")
    for path in kept | left:
        os.utime(path, (time.time() - 2 * 86_400,) * 2)
    expiry = Expiry(store, index, time.time)
    assert expiry.run(Retention()) == 0  # a file that is seen for the first time may get its row yet
    assert expiry.run(Retention()) == 2
    assert set(folder.rglob("*.dcm")) == kept | {young}


def test_fhir_of_a_study(open_archive: OpenArchive, tmp_path: Path, pipeline: Any) -> None:
    archive = open_archive(tmp_path / "archive")
    receipt = archive.receive(chest(), SENDER)
    study_of(archive, receipt)
    made = archive.worklist.fhir(receipt.study_instance_uid, pipeline.predictor.bundle)
    assert made is not None
    assert json.loads(made)["resourceType"] == "DiagnosticReport"
    assert archive.worklist.fhir("1.2.3", pipeline.predictor.bundle) is None
