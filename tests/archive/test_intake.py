"""Keeping: what is acknowledged is on disk; what is not is said why, and leaves nothing."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import generate_uid

from cxrserve.archive.archive import Archive
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.archive.storage.files import key_of
from cxrserve.errors import CxrserveError, OutOfResources, TooLarge, UnreadableImage
from tests import radiographs
from tests.archive.conftest import SENDER, OpenArchive, Peer, chest, study_of
from tests.waiting import until

CONFORMANCE = Path(__file__).resolve().parents[2] / "deploy" / "CONFORMANCE.md"


def objects(archive: Path) -> list[Path]:
    """Files of kept objects."""
    return sorted((archive / "objects").glob("*/*.dcm"))


def with_uid(uid: str) -> bytes:
    """A radiograph with a UID that is none."""
    with disable_value_validation():
        return radiographs.dicom(96, 80, SOPInstanceUID=uid)


@pytest.fixture
def archive(open_archive: OpenArchive, tmp_path: Path) -> Archive:
    """An archive that waits long before it works."""
    return open_archive(tmp_path / "archive", rules={"quiet_time_s": 1000})


def test_a_kept_object_lies_there_byte_for_byte(archive: Archive, tmp_path: Path) -> None:
    data = chest()
    receipt = archive.receive(data, SENDER)
    assert receipt.outcome == "kept"
    (path,) = objects(tmp_path / "archive")
    assert path.read_bytes() == data
    assert path.stem == receipt.sha256
    assert archive.has(receipt.sop_instance_uid, receipt.sop_class_uid)
    assert not archive.has(receipt.sop_instance_uid, "1.2.840.10008.5.1.4.1.1.7")
    assert not archive.has(generate_uid(), receipt.sop_class_uid)


@pytest.mark.parametrize("start", [b"MZ", b"PK\3\4", b"<html>"])
def test_a_preamble_is_kept_as_it_came_and_the_conformance_statement_says_so(
    archive: Archive, tmp_path: Path, start: bytes
) -> None:
    """PS3.10 7.1: such a file may also be a program, an archive or a web page."""
    data = start + chest()[len(start) :]
    assert archive.receive(data, SENDER).outcome == "kept"
    (path,) = objects(tmp_path / "archive")
    assert path.read_bytes() == data
    assert not path.stat().st_mode & 0o111, "no user may run it"
    (said,) = (line for line in CONFORMANCE.read_text("utf-8").splitlines() if line.startswith("Preamble:"))
    for part in ("PS3.10 7.1", "byte for byte", "valid program, archive or web page", "never executes"):
        assert part in said


def test_a_path_is_as_good_as_bytes(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "sent.dcm"
    path.write_bytes(chest())
    assert archive.receive(path, SENDER).outcome == "kept"
    assert path.exists()


def test_the_same_object_twice_is_one(archive: Archive, tmp_path: Path) -> None:
    data = chest()
    assert [archive.receive(data, SENDER).outcome for _ in range(2)] == ["kept", "duplicate"]
    assert len(objects(tmp_path / "archive")) == 1


@pytest.mark.parametrize("coerced", [False, True])
@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_a_prior_that_its_modality_sends_too_is_work(
    open_archive: OpenArchive,
    tmp_path: Path,
    where: str,
    coerced: bool,
    request: pytest.FixtureRequest,
) -> None:
    """A second study of one day may be in the PACS, and be fetched as a prior, before it comes by itself."""
    url = request.getfixturevalue("postgres_url") if where == "postgres" else ""
    peer, settings = Peer(), dict[str, Any]()
    if url:
        settings["database_url"] = url
    archive = open_archive(tmp_path / "archive", peer, **settings)
    film = chest(InstitutionName="AS SENT")
    fetched = Source(protocol="prior", prior_of="all")
    prior = archive.receive(chest_again(film, InstitutionName="COERCED") if coerced else film, fetched)
    assert study_of(archive, prior).prior
    assert not peer.received

    assert archive.receive(film, SENDER).outcome == "kept"
    until(lambda: len(peer.of("SR")) == len(peer.of("OT")) == 1 or None)
    study = study_of(archive, prior)
    assert (study.prior, len(study.images)) == (False, 1)
    assert archive.worklist.studies()[0].images == 1
    with archive.worklist.image(study.study_instance_uid, prior.sop_instance_uid) or io.BytesIO() as file:
        assert file.read() == film
    assert archive.receive(film, SENDER).outcome == "duplicate"
    assert archive.receive(film, fetched).outcome == "duplicate"


def chest_again(film: bytes, **elements: object) -> bytes:
    """The same image with other elements in its header."""
    dataset, written = dcmread(io.BytesIO(film)), io.BytesIO()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(written)
    return written.getvalue()


@pytest.mark.parametrize("damage", [b"", b"flipped"])
def test_the_same_object_again_mends_a_file_that_was_damaged(
    archive: Archive, tmp_path: Path, damage: bytes
) -> None:
    data = chest()
    assert archive.receive(data, SENDER).outcome == "kept"
    (path,) = objects(tmp_path / "archive")
    path.write_bytes(damage) if damage else path.unlink()
    assert archive.receive(data, SENDER).outcome == "duplicate"
    assert path.read_bytes() == data


def test_meta_information_makes_no_other_object(archive: Archive) -> None:
    data = radiographs.dataset(96, 80)
    first = radiographs.dicom(96, 80)
    data.file_meta.SourceApplicationEntityTitle = "OTHER"
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    assert file.getvalue() != first
    assert [archive.receive(each, SENDER).outcome for each in (first, file.getvalue())] == [
        "kept",
        "duplicate",
    ]


def test_another_object_under_the_same_uid_is_set_aside(archive: Archive, tmp_path: Path) -> None:
    uid, study = generate_uid(), generate_uid()
    assert archive.receive(chest(study, SOPInstanceUID=uid), SENDER).outcome == "kept"
    other = chest(study, rows=97, SOPInstanceUID=uid, PatientName="Somebody^Else")
    receipt = archive.receive(other, SENDER)
    assert receipt.outcome == "quarantined"
    assert not receipt.acknowledged
    (entry,) = archive.jobs.quarantine()
    assert (entry.sop_instance_uid, entry.sha256) == (uid, receipt.sha256)
    assert (tmp_path / "archive" / "quarantine" / f"{entry.sha256}.dcm").read_bytes() == other
    assert len(objects(tmp_path / "archive")) == 1


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (("A", ""), ("B", ""), "held"),
        (("A", "X"), ("A", "Y"), "held"),
        (("A", "X"), ("A", "X"), "kept"),
        (("A", "X"), ("A", ""), "kept"),
        (("", ""), ("B", "Y"), "kept"),
    ],
)
def test_two_patients_never_meet_in_one_study(
    archive: Archive,
    caplog: pytest.LogCaptureFixture,
    first: tuple[str, str],
    second: tuple[str, str],
    outcome: str,
) -> None:
    """One report is made of a study, under one patient."""
    study = generate_uid()

    def sent(patient: tuple[str, str]) -> Receipt:
        return archive.receive(chest(study, PatientID=patient[0], IssuerOfPatientID=patient[1]), SENDER)

    assert sent(first).outcome == "kept"
    with caplog.at_level("INFO", "cxrserve.audit"):
        receipt = sent(second)
    assert receipt.outcome == outcome
    assert receipt.acknowledged, "it is on disk, and a person or a correction decides"
    aside = outcome == "held"
    assert f"reason={'other-patient' if aside else '-'}" in caplog.text
    assert [each.reason for each in archive.jobs.quarantine()] == ["other-patient"] * aside
    assert study_of(archive, receipt, "receiving").patient_id == (first[0] or second[0])
    assert len(study_of(archive, receipt, "receiving").images) == 2 - aside
    assert sent(("C", "Z")).outcome == "held", "also where the first image named no patient"


def test_of_two_patients_at_once_one_is_kept(archive: Archive) -> None:
    for _ in range(5):
        study = generate_uid()
        data = [chest(study, PatientID=name) for name in "ABCD"]
        with ThreadPoolExecutor(4) as senders:
            outcomes = list(senders.map(lambda each: archive.receive(each, SENDER).outcome, data))
        assert sorted(outcomes) == [*["held"] * 3, "kept"]


@pytest.mark.parametrize(("otherwise", "outcome"), [("ignore", "ignored"), ("refuse", "refused")])
def test_what_no_rule_takes(open_archive: OpenArchive, tmp_path: Path, otherwise: str, outcome: str) -> None:
    rules = {"otherwise": otherwise, "rules": [{"name": "none", "match": {"calling_ae": "NOBODY"}}]}
    archive = open_archive(tmp_path / "archive", rules=rules)
    receipt = archive.receive(chest(), SENDER)
    assert receipt.outcome == outcome
    assert receipt.acknowledged == (otherwise == "ignore")
    assert not objects(tmp_path / "archive")


def written(dataset: Dataset) -> bytes:
    """As a file."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_results_that_come_back_are_acknowledged_and_not_read(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    """A PACS that sends us all it has gets no results of results, whatever the rules take."""
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer)
    study_of(archive, archive.receive(chest(), SENDER))
    results = until(lambda: peer.received if len(peer.received) == 3 else None)
    for result in results:
        receipt = archive.receive(written(result), SENDER)
        assert (receipt.outcome, receipt.acknowledged) == ("ignored", True)
        result.StudyInstanceUID = generate_uid()  # as an archive that merges or splits studies does
        assert archive.receive(written(result), SENDER).outcome == "ignored"
    (overlay,) = (each for each in results if each.Modality == "OT")
    phantom = Dataset()
    phantom.update(overlay)
    phantom.file_meta = overlay.file_meta
    phantom.SOPInstanceUID = phantom.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    phantom.ManufacturerModelName = "phantom"
    del phantom.SoftwareVersions
    assert archive.receive(written(phantom), SENDER).outcome == "kept"


def test_results_are_known_by_their_series_where_a_pacs_names_another_manufacturer(
    open_archive: OpenArchive, tmp_path: Path
) -> None:
    peer = Peer()
    archive = open_archive(tmp_path / "archive", peer)
    study_of(archive, archive.receive(chest(), SENDER))
    for result in until(lambda: peer.received if len(peer.received) == 3 else None):
        result.Manufacturer = "PACS"
        assert archive.receive(written(result), SENDER).outcome == "ignored"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 200,
        b"\0" * 128 + b"DICM",
        radiographs.jpeg(96, 80),
        with_uid(""),
        with_uid("1.2/../../x"),
        with_uid("1." + "2" * 63),
        radiographs.dicom(96, 80)[:300],
    ],
    ids=["empty", "zeros", "only a preamble", "JPEG", "no UID", "path for a UID", "65 characters", "cut"],
)
def test_what_is_no_object_is_refused_and_leaves_nothing(
    archive: Archive, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(CxrserveError) as caught:
        archive.receive(data, SENDER)
    assert caught.type is UnreadableImage
    assert not objects(tmp_path / "archive")
    assert archive.receive(chest(), SENDER).outcome == "kept"


def test_limits_refuse_before_anything_is_written(open_archive: OpenArchive, tmp_path: Path) -> None:
    data = chest()
    archive = open_archive(
        tmp_path / "archive",
        rules={"quiet_time_s": 1000},
        archive_max_bytes=len(data) * 2,
        max_upload_bytes=len(data) + 100,
    )
    with pytest.raises(TooLarge):
        archive.receive(data + b"\0" * 1000, SENDER)
    assert archive.receive(data, SENDER).outcome == "kept"
    assert archive.receive(chest(), SENDER).outcome == "kept"
    with pytest.raises(OutOfResources, match="ARCHIVE_MAX_BYTES"):
        archive.receive(chest(), SENDER)
    assert len(objects(tmp_path / "archive")) == 2


def test_a_disk_that_is_nearly_full_is_not_filled(open_archive: OpenArchive, tmp_path: Path) -> None:
    archive = open_archive(tmp_path / "archive", archive_min_free_bytes=2**60)
    with pytest.raises(OutOfResources, match="MIN_FREE_BYTES"):
        archive.receive(chest(), SENDER)


def test_no_name_of_a_sender_is_a_path(archive: Archive, tmp_path: Path) -> None:
    receipt = archive.receive(chest(), SENDER)
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert not any(receipt.sop_instance_uid in name or receipt.study_instance_uid in name for name in names)
    assert len(key_of("../../etc/passwd")) == 32


def test_text_of_any_character_set_is_found_again(archive: Archive) -> None:
    receipt = archive.receive(
        chest(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", PatientID="A_1%"), SENDER
    )
    assert study_of(archive, receipt, "receiving").patient_name == "Müller^Jörg"
    for search in ("müller", "a_1%", receipt.study_instance_uid):
        assert len(archive.worklist.studies(search=search)) == 1
    for search in ("ax1", "_", "nobody"):
        assert len(archive.worklist.studies(search=search)) == (search == "_")


@pytest.mark.parametrize(
    ("character_set", "name", "searches"),
    [
        ("ISO_IR 100", "MÜLLER^JÖRG", ("müller", "MÜLLER", "Müller^Jörg", "müller jö", "Mu\u0308ller")),
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎", ("yamada^tarou", "山田", "山田 太郎", "ＹＡＭＡＤＡ")),
        ("ISO_IR 144", "ЛЮКСЕМБУРГ^Анна", ("люксембург", "АННА")),
        ("ISO_IR 192", "Straße^Eva", ("STRASSE", "straße")),
    ],
)
def test_names_are_found_whatever_their_case(
    archive: Archive, character_set: str, name: str, searches: tuple[str, ...]
) -> None:
    archive.receive(chest(SpecificCharacterSet=character_set, PatientName=name), SENDER)
    for search in searches:
        assert [each.patient_name for each in archive.worklist.studies(search=search)] == [name], search


def test_a_patient_id_that_came_late_is_found(archive: Archive) -> None:
    study = archive.receive(chest(PatientID=""), SENDER).study_instance_uid
    archive.receive(chest(study, PatientID="Ö-4711"), SENDER)
    assert [each.study_instance_uid for each in archive.worklist.studies(search="ö-47")] == [study]


def test_many_senders_at_once(archive: Archive, tmp_path: Path) -> None:
    """Also the rate: 20 objects a second are to be acknowledged; here 50 come from eight senders."""
    data = [chest() for _ in range(50)]
    started = time.perf_counter()
    with ThreadPoolExecutor(8) as senders:
        receipts = list(senders.map(lambda each: archive.receive(each, SENDER), [*data, *data[:10]]))
    took_s = time.perf_counter() - started
    assert [each.outcome for each in receipts].count("kept") == 50
    assert [each.outcome for each in receipts].count("duplicate") == 10
    assert len(objects(tmp_path / "archive")) == 50
    assert took_s < 20, f"60 objects took {took_s:.1f} s"
