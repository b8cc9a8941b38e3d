"""Corrections of patient and order: results follow the right patient, and the wrong ones are superseded."""

from __future__ import annotations

import getpass
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid
from typer.testing import CliRunner, Result

from cxrserve.archive.archive import Archive
from cxrserve.archive.receipt import Receipt
from cxrserve.cli.main import app
from cxrserve.errors import RequestError
from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest, study_of
from tests.waiting import until

TEMPORARY: dict[str, Any] = {"PatientID": "TMP-1", "PatientName": "UNKNOWN^TRAUMA", "AccessionNumber": "E-1"}
RIGHT: dict[str, Any] = {
    "PatientID": "REAL-1",
    "PatientName": "Müller^Änne",
    "SpecificCharacterSet": "ISO_IR 100",
}


def with_elements(data: bytes, **elements: object) -> bytes:
    """A copy of a file, as a PACS makes it that corrects elements."""
    dataset = dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def under(peer: Peer, patient_id: str) -> list[Dataset]:
    return [result for result in peer.received if result.PatientID == patient_id]


def results(archive: Archive, peer: Peer, receipt: Receipt, count: int, *, steps: int = 1) -> list[Dataset]:
    """Wait until `peer` has received `count` objects and nothing is left to do; they are removed.

    Args:
        steps: changes that come one after the other. On a slow machine each may have a revision of its own,
            with a report of its own.
    """
    until(lambda: len(peer.received) >= count or None)
    study_of(archive, receipt)
    until(lambda: not archive.jobs.jobs() or None)
    received, peer.received = peer.received, []
    assert count <= len(received) < count + steps
    return received


def the(modality: str, received: list[Dataset]) -> Dataset:
    (result,) = (result for result in received if result.Modality == modality)
    return result


def predecessors(report: Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def without_patient(result: Dataset) -> str:
    """A presentation state as JSON, without the patient, the order and what follows from them."""
    copy = Dataset.from_json(result.to_json())
    for keyword in ("PatientID", "PatientName", "SpecificCharacterSet", "SOPInstanceUID", "AccessionNumber"):
        if keyword in copy:
            delattr(copy, keyword)
    return copy.to_json()


def test_a_corrected_copy_moves_the_study_and_everything_held_for_it(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    """A trauma under a temporary ID, a second image under the right one, then the first one corrected."""
    peer, study = Peer(), generate_uid()
    archive = open_archive(tmp_path / "archive", peer)
    first = chest(study, **TEMPORARY)
    receipt = archive.receive(first, SENDER)
    sent = results(archive, peer, receipt, 3)
    assert {result.PatientID for result in sent} == {"TMP-1"}

    held = archive.receive(chest(study, **RIGHT), SENDER)
    assert (held.outcome, held.acknowledged, held.dimse_status) == ("held", True, 0)
    assert len(study_of(archive, receipt).images) == 1

    corrected = archive.receive(with_elements(first, **RIGHT), SENDER)
    assert corrected.outcome == "kept"
    assert not archive.jobs.quarantine(), "the second image names the right patient now"
    again = results(archive, peer, receipt, 5, steps=2)
    assert {(str(result.PatientID), str(result.PatientName)) for result in again} == {
        ("REAL-1", "Müller^Änne")
    }
    corrected_reports = [result for result in again if result.Modality == "SR"]
    assert predecessors(corrected_reports[0]) == [the("SR", sent).SOPInstanceUID]
    report = corrected_reports[-1]
    assert not {result.SOPInstanceUID for result in again} & {result.SOPInstanceUID for result in sent}
    (state,) = (
        result
        for result in again
        if result.Modality == "PR"
        and result.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID
        == receipt.sop_instance_uid
    )
    assert without_patient(state) == without_patient(the("PR", sent)), "only the patient is another"
    overlays = {result.SOPInstanceUID for result in again if result.Modality == "OT"}
    referenced = {reference for reference in json_uids(report) if reference in overlays}
    assert referenced == overlays, "the report refers to the corrected overlays"

    entry = study_of(archive, receipt)
    assert (entry.patient_id, entry.patient_name, len(entry.images)) == ("REAL-1", "Müller^Änne", 2)
    (line,) = archive.worklist.studies(search="änne")
    assert line.images == 2
    assert not archive.worklist.studies(search="TMP-1")

    late = archive.receive(chest(study, **TEMPORARY), SENDER)
    assert late.outcome == "kept", "an image under the former ID is the study's"
    assert archive.receive(first, SENDER).outcome == "duplicate", "and corrects nothing back"
    assert {result.PatientID for result in results(archive, peer, receipt, 3)} == {"REAL-1"}


def json_uids(report: Dataset) -> set[str]:
    found: set[str] = set()

    def collect(_: Dataset, element: object) -> None:
        if getattr(element, "keyword", "") == "ReferencedSOPInstanceUID":
            found.add(str(getattr(element, "value", "")))

    report.walk(collect)
    return found


@pytest.mark.parametrize(("conflicts", "patient"), [("newest", "REAL-1"), ("archive", "TMP-1")])
def test_the_rules_say_who_is_right(
    open_archive: OpenArchive, tmp_path: Path, conflicts: str, patient: str
) -> None:
    peer, study = Peer(), generate_uid()
    archive = open_archive(tmp_path / "archive", peer, {"patients": {"conflicts": conflicts}})
    first = chest(study, **TEMPORARY)
    receipt = archive.receive(first, SENDER)
    results(archive, peer, receipt, 3)
    assert archive.receive(chest(study, **RIGHT), SENDER).outcome == "kept"
    again = results(archive, peer, receipt, 5 if conflicts == "newest" else 3)
    assert {result.PatientID for result in again} == {patient}
    assert archive.receive(with_elements(first, **RIGHT), SENDER).outcome == "duplicate"
    assert study_of(archive, receipt).patient_id == patient
    assert not archive.jobs.quarantine()


def test_nothing_goes_out_under_the_patient_before(open_archive: OpenArchive, tmp_path: Path) -> None:
    """A delivery that waits for its next try, and a dead letter that is retried, are superseded."""
    peer, study = Peer(), generate_uid()
    peer.error = away()
    archive = open_archive(tmp_path / "archive", peer)
    first = chest(study, **TEMPORARY)
    receipt = archive.receive(first, SENDER)
    (waiting,) = until(lambda: [job for job in archive.jobs.jobs("waiting") if job.attempts])
    peer.error = away(retryable=False)
    archive.jobs.retry(waiting.id)
    until(lambda: archive.jobs.jobs("dead"))
    assert archive.receive(with_elements(first, **RIGHT), SENDER).outcome == "kept"
    given_up = archive.jobs.find(waiting.id)
    assert given_up.state == "done"
    assert given_up.problem is not None
    assert given_up.problem["slug"] == "superseded"
    peer.error = None
    sent = results(archive, peer, receipt, 3)
    assert {result.PatientID for result in sent} == {"REAL-1"}


def test_results_are_corrected_after_the_image_was_deleted(open_archive: OpenArchive, tmp_path: Path) -> None:
    """Only the attributes change, so the image is not needed again."""
    peer, study, folder = Peer(), generate_uid(), tmp_path / "archive"
    archive = open_archive(folder, peer, {"patients": {"conflicts": "newest"}})
    receipt = archive.receive(chest(study, **TEMPORARY), SENDER)
    results(archive, peer, receipt, 3)
    for path in folder.glob("objects/*/*.dcm"):
        path.unlink()
    assert archive.receive(chest(study, **RIGHT), SENDER).outcome == "kept"
    assert {result.PatientID for result in results(archive, peer, receipt, 5)} == {"REAL-1"}
    assert all(image.state == "done" for image in study_of(archive, receipt).images)


def test_a_corrected_order_reaches_report_and_fhir(
    open_archive: OpenArchive, tmp_path: Path, pipeline: object
) -> None:
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer)
    first = chest(**TEMPORARY)
    receipt = archive.receive(first, SENDER)
    results(archive, peer, receipt, 3)
    assert archive.receive(with_elements(first, AccessionNumber="A-77"), SENDER).outcome == "kept"
    assert {result.AccessionNumber for result in results(archive, peer, receipt, 3)} == {"A-77"}
    bundle = archive._intake._bundle
    assert bundle is not None
    report = json.loads(archive.worklist.fhir(receipt.study_instance_uid, bundle) or b"")
    assert report["identifier"][0]["value"] == "A-77"


def queue(archive: Path, *arguments: str, audit: Path | None = None) -> Result:
    """`cxrserve pacs queue` with these arguments, beside the running node."""
    command = ["pacs", "queue", *arguments, "--archive", str(archive)]
    rules = ["--rules", str(archive.with_suffix(".yaml"))] if arguments[0] != "quarantine" else []
    trail = ["--set", f"audit=file://{audit}"] if audit is not None else []
    return CliRunner().invoke(app, [*command, *rules, *trail], env={"COLUMNS": "300"})


def audited(audit: Path) -> list[tuple[str, str]]:
    """Action and detail of each audit line but start and stop."""
    rows = [json.loads(line) for line in audit.read_text().splitlines()]
    by_command = [row for row in rows if row["detail"] in ("command", "quarantine")]
    assert by_command
    assert all(row["user"] == getpass.getuser() for row in by_command)
    return [(row["action"], row["detail"]) for row in rows if row["action"] not in ("start", "stop")]


@pytest.mark.parametrize(("command", "patient"), [("release", "REAL-1"), ("move", "TMP-1"), ("drop", "")])
def test_a_person_decides_on_a_held_image(
    open_archive: OpenArchive, tmp_path: Path, command: str, patient: str
) -> None:
    peer, study, folder, audit = Peer(), generate_uid(), tmp_path / "archive", tmp_path / "audit.jsonl"
    archive = open_archive(folder, peer)
    receipt = archive.receive(chest(study, **TEMPORARY), SENDER)
    results(archive, peer, receipt, 3)
    held = archive.receive(chest(study, **RIGHT), SENDER)
    done = queue(folder, command, held.sha256[:12], audit=audit)
    assert done.exit_code == 0, done.output
    assert "the quarantine is empty" in queue(folder, "quarantine").output
    assert not list(folder.glob("quarantine/*"))
    assert not list(folder.glob("incoming/*/*"))
    if not patient:
        assert audited(audit) == [("delete", "quarantine")]
        assert len(study_of(archive, receipt).images) == 1
    else:
        assert ("release", "command") in audited(audit)
        again = results(archive, peer, receipt, 5 if command == "release" else 3)
        assert {result.PatientID for result in again} == {patient}
    assert isinstance(queue(folder, command, held.sha256).exception, RequestError)


def test_an_image_with_a_known_uid_replaces_the_stored_one_by_command(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    peer, study, uid, folder = Peer(), generate_uid(), generate_uid(), tmp_path / "archive"
    archive = open_archive(folder, peer)
    receipt = archive.receive(chest(study, SOPInstanceUID=uid, **RIGHT), SENDER)
    before = results(archive, peer, receipt, 3)
    other = archive.receive(chest(study, rows=112, SOPInstanceUID=uid, **RIGHT), SENDER)
    assert other.outcome == "quarantined"
    assert isinstance(queue(folder, "move", other.sha256).exception, RequestError)
    assert queue(folder, "release", other.sha256).exit_code == 0
    again = results(archive, peer, receipt, 3)
    assert (the("PR", before).DisplayedAreaSelectionSequence[0].DisplayedAreaBottomRightHandCorner[1]) == 96
    assert (the("PR", again).DisplayedAreaSelectionSequence[0].DisplayedAreaBottomRightHandCorner[1]) == 112
    assert predecessors(the("SR", again)) == [the("SR", before).SOPInstanceUID]


def test_a_study_is_reassigned_by_command(open_archive: OpenArchive, tmp_path: Path) -> None:
    """And what is held for it under its new patient is taken in."""
    peer, study, folder, audit = Peer(), generate_uid(), tmp_path / "archive", tmp_path / "audit.jsonl"
    archive = open_archive(folder, peer)
    receipt = archive.receive(chest(study, **TEMPORARY), SENDER)
    results(archive, peer, receipt, 3)
    assert archive.receive(chest(study, **RIGHT), SENDER).outcome == "held"
    command = ["reassign", study, "--patient-id", "REAL-1", "--patient-name", "Müller^Änne"]
    assert queue(folder, *command, audit=audit).exit_code == 0
    again = results(archive, peer, receipt, 5, steps=2)
    assert {(str(result.PatientID), str(result.PatientName)) for result in again} == {
        ("REAL-1", "Müller^Änne")
    }
    assert ("correct", "command") in audited(audit)
    assert isinstance(queue(folder, "reassign", "1.2.3", "--patient-id", "X").exception, RequestError)


def test_what_was_held_is_taken_in_at_the_next_start(open_archive: OpenArchive, tmp_path: Path) -> None:
    """A process may die between a correction and the release of what was held."""
    peer, study, folder = Peer(), generate_uid(), tmp_path / "archive"
    archive = open_archive(folder, peer)
    first = chest(study, **TEMPORARY)
    receipt = archive.receive(first, SENDER)
    results(archive, peer, receipt, 3)
    assert archive.receive(chest(study, **RIGHT), SENDER).outcome == "held"
    archive._intake.release_agreeing = lambda *_: None  # type: ignore[method-assign] # as if it died here
    assert archive.receive(with_elements(first, **RIGHT), SENDER).outcome == "kept"
    assert archive.jobs.quarantine()
    archive.close()
    archive = open_archive(folder, peer)
    until(lambda: not archive.jobs.quarantine() or None)
    until(lambda: len(study_of(archive, receipt).images) == 2 or None)
    assert study_of(archive, receipt).patient_id == "REAL-1"
