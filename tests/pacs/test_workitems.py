"""Workitems of a worklist manager, performed by real stations: claimed once, and reported as they ended."""

from __future__ import annotations

import io
import json
import signal
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedSRStorage, generate_uid

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import WorklistPeer
from cxrserve.archive.storage.files import key_of
from cxrserve.pacs.echo import echo
from cxrserve.pacs.workitem_dataset import DEFAULT_WORKITEM_CODE, REASONS
from cxrserve.pacs.worklist_manager import UpsManager
from cxrserve.reports.dicom.patient import Patient
from tests import dcmtk
from tests.orthanc import Orthanc, free_port
from tests.pacs.conftest import new_chest
from tests.pacs.test_hl7 import store
from tests.pacs.worklist_manager import Entry, Manager, serving
from tests.postgres import fresh_database
from tests.stations import Station, station
from tests.waiting import until

PATIENT = "PRIVATE-4711"
CODE = {"value": "CHEST-AI", "scheme": "99TEST"}


def rules_for(pacs: Orthanc, url: str, **more: object) -> dict[str, Any]:
    """Rules of a worker that takes the workitems labelled CHEST, and sends to `pacs`."""
    worklist = {"url": url, "images": "archive", "every_s": 1, "timeout_s": 5}
    peer = {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1"}
    return {
        "quiet_time_s": 0.2,
        "destinations": {
            "pacs": {**peer, "port": pacs.dicom_port, "report_class": "enhanced"},
            "web": {"protocol": "stow", "url": pacs.dicom_web},
            "lost": {**peer, "port": free_port(), "timeout_s": 1},
        },
        "servers": {
            "archive": {"url": pacs.dicom_web},
            "away": {"url": f"http://127.0.0.1:{free_port()}", "timeout_s": 1},
            "swapping": {"url": f"{url}/images"},
        },
        "worklists": {
            "chest": {**worklist, "label": "CHEST", "code": CODE},
            "away": {**worklist, "label": "AWAY", "images": "away", "images_within_s": 0},
            "swapped": {**worklist, "label": "SWAPPED", "images": "swapping"},
        },
        "rules": [
            {"name": "lost", "match": {"tags": {"StudyDescription": "LOST"}}, "destinations": ["lost"]},
            {"name": "slow", "match": {"tags": {"StudyDescription": "SLOW"}}, "quiet_time_s": 600},
            {
                "name": "followed",
                "match": {"tags": {"StudyDescription": "FOLLOWED"}},
                "priors": {"server": "archive"},
                "destinations": ["pacs"],
            },
            {"name": "kept", "match": {"tags": {"StudyDescription": "KEPT"}}},
            {"name": "knees", "match": {"body_part": "KNEE*"}, "destinations": ["pacs"]},
            {
                "name": "chests",
                "match": {"body_part": "CHEST"},
                "destinations": ["pacs", {"name": "web", "results": ["overlay"]}],
            },
        ],
        **more,
    }


@dataclass
class Case:
    """A radiograph, as a file and in the PACS, and the workitem that asks for it."""

    path: Path
    study: str
    entry: Entry


def case(
    manager: Manager,
    pacs: Orthanc,
    folder: Path,
    *,
    workitem: Mapping[str, object] | None = None,
    stored: bool = True,
    **elements: object,
) -> Case:
    """Make a radiograph, store it in the PACS, and schedule a workitem with it."""
    path = new_chest(
        folder / f"{generate_uid()}.dcm",
        **{"PatientID": PATIENT, "BodyPartExamined": "CHEST", **elements},
    )
    image = dcmread(path)
    if stored:
        assert "Success" in dcmtk.storescu(pacs.dicom_port, path, ae="ORTHANC")
    dataset = Dataset()
    dataset.PatientID = image.PatientID
    dataset.WorklistLabel = "CHEST"
    dataset.InputReadinessState = "READY"
    dataset.ScheduledWorkitemCodeSequence = [code_item(CODE["value"], CODE["scheme"], "Chest films by AI")]
    item, reference = Dataset(), Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID, item.SeriesInstanceUID = image.StudyInstanceUID, image.SeriesInstanceUID
    item.ReferencedSOPSequence = [reference]
    dataset.InputInformationSequence = [item]
    for keyword, value in (workitem or {}).items():
        setattr(dataset, keyword, value)
    return Case(path, image.StudyInstanceUID, manager.add(dataset))


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def ended(entry: Entry, state: str) -> Entry:
    """Wait for a workitem's final state."""
    until(lambda: entry.state in ("COMPLETED", "CANCELED") or None)
    assert entry.states == ["SCHEDULED", "IN PROGRESS", state]
    assert len(entry.transactions) == 1
    return entry


def objects(pacs: Orthanc, study: str, *modalities: str) -> dict[str, str]:
    """SOP Instance UID and SOP Class UID of the objects of a study that have one of these modalities."""
    found = [dcmread(io.BytesIO(pacs.file(name))) for name in pacs.wait_for_study(study, 1)]
    return {each.SOPInstanceUID: each.SOPClassUID for each in found if each.Modality in modalities}


def outputs(entry: Entry, retrieval: str) -> dict[str, str]:
    """SOP Instance UID and SOP Class UID of each output that can be had in one way; each stands once."""
    references = [
        reference
        for item in entry.performed.OutputInformationSequence
        if retrieval in item
        for reference in item.ReferencedSOPSequence
    ]
    named = {each.ReferencedSOPInstanceUID: each.ReferencedSOPClassUID for each in references}
    assert len(named) == len(references)
    return named


def reason(entry: Entry) -> str:
    (code,) = entry.progress.ProcedureStepDiscontinuationReasonCodeSequence
    return str(code.CodeValue)


@pytest.fixture(scope="module")
def manager() -> Manager:
    return Manager()


@pytest.fixture(scope="module")
def worker(
    tiny_bundle: Path, pacs: Orthanc, manager: Manager, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    archive = tmp_path_factory.mktemp("worker") / "archive"
    audit = f"file:{archive.with_suffix('.audit')}"
    with (
        serving(manager) as url,
        station(
            tiny_bundle,
            archive,
            rules_for(pacs, url),
            audit=audit,
            delivery_give_up_s=1,
            delivery_max_pause_s=1,
        ) as running,
    ):
        yield running


def test_a_workitem_is_completed_with_the_objects_that_the_pacs_has(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    differences: list[dict[str, object]] = [
        {"WorklistLabel": "KNEE"},
        {"ScheduledWorkitemCodeSequence": [code_item("OTHER", "99TEST", "Something else")]},
        {"ScheduledStationNameCodeSequence": [code_item("ELSEWHERE", "99TEST", "Another station")]},
        {"InputReadinessState": "INCOMPLETE"},
    ]
    others = [case(manager, pacs, tmp_path, workitem=each, stored=False).entry for each in differences]
    own = {"ScheduledStationNameCodeSequence": [code_item("CXRSERVE", "99TEST", "This station")]}
    film = case(manager, pacs, tmp_path, workitem=own)
    entry = ended(film.entry, "COMPLETED")

    by_store, by_web = outputs(entry, "DICOMRetrievalSequence"), outputs(entry, "WADORSRetrievalSequence")
    assert by_store == objects(pacs, film.study, "SR", "OT", "PR")
    assert EnhancedSRStorage in by_store.values(), "as it was delivered, not as it was made"
    assert by_web == objects(pacs, film.study, "OT")
    for item in entry.performed.OutputInformationSequence:
        assert item.StudyInstanceUID == film.study
        if "DICOMRetrievalSequence" in item:
            assert item.DICOMRetrievalSequence[0].RetrieveAETitle == "ORTHANC"
        else:
            url = item.WADORSRetrievalSequence[0].RetrieveURL
            answer = httpx.get(f"{url}/metadata", headers={"Accept": "application/dicom+json"}, timeout=60)
            assert {each["00080018"]["Value"][0] for each in answer.json()} == set(by_web)
    step = entry.performed
    assert step.PerformedWorkitemCodeSequence[0].CodeValue == CODE["value"]
    assert step.PerformedStationNameCodeSequence[0].CodeValue == "CXRSERVE"
    assert step.PerformedProcedureStepStartDateTime <= step.PerformedProcedureStepEndDateTime
    assert entry.progress.ProcedureStepProgress == 100

    assert [other.states for other in others] == [["SCHEDULED"]] * 4
    worker.said(r"worklist=chest COMPLETED")
    metrics = httpx.get(f"{worker.url}/metrics", timeout=60).text
    assert 'cxrserve_workitems_total{outcome="completed",worklist="chest"} 1.0' in metrics
    events = [json.loads(line) for line in worker.archive.with_suffix(".audit").read_text().splitlines()]
    (pulled,) = [
        event for event in events if film.study in event.get("studies", ()) and event["action"] == "pull"
    ]
    assert (pulled["user"], pulled["detail"]) == ("archive", "workitem")


def test_a_refused_film_cancels_the_workitem_and_its_report_is_an_output(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, PresentationIntentType="FOR PROCESSING")
    entry = ended(film.entry, "CANCELED")
    assert reason(entry) == codes.DCM.ObjectTypesNotSupported.value
    assert entry.progress.ReasonForCancellation.startswith("No image of the input was analysed:")
    by_store, by_web = outputs(entry, "DICOMRetrievalSequence"), outputs(entry, "WADORSRetrievalSequence")
    assert len(by_store) == len(by_web) == 1, "each destination has the report, in its own SOP class"
    assert by_store | by_web == objects(pacs, film.study, "SR")


def test_an_image_of_another_patient_is_not_even_stored(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, workitem={"PatientID": "ANOTHER"})
    entry = ended(film.entry, "CANCELED")
    assert reason(entry) == codes.DCM.IncorrectWorklistEntrySelected.value
    assert not entry.performed.OutputInformationSequence
    assert httpx.get(f"{worker.url}/studies/{film.study}", timeout=60).status_code == 404


def test_a_workitem_without_a_patient_has_the_images_of_one_alone(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    nobody: dict[str, object] = {"PatientID": "", "WorklistLabel": "NONE"}
    film = case(manager, pacs, tmp_path, workitem=nobody)
    stranger = case(manager, pacs, tmp_path, workitem=nobody, PatientID="ANOTHER")
    both = [each.entry.dataset.InputInformationSequence[0] for each in (film, stranger)]
    film.entry.dataset.InputInformationSequence = both
    film.entry.dataset.WorklistLabel = "CHEST"
    entry = ended(film.entry, "CANCELED")
    assert reason(entry) == codes.DCM.IncorrectWorklistEntrySelected.value
    assert httpx.get(f"{worker.url}/studies/{film.study}", timeout=60).status_code == 200
    assert httpx.get(f"{worker.url}/studies/{stranger.study}", timeout=60).status_code == 404


def test_an_object_that_was_not_asked_for_is_no_input(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"})
    (item,) = film.entry.dataset.InputInformationSequence
    (reference,) = item.ReferencedSOPSequence
    reference.ReferencedSOPInstanceUID = generate_uid()
    manager.image = film.path.read_bytes()
    film.entry.dataset.WorklistLabel = "SWAPPED"
    entry = ended(film.entry, "CANCELED")
    assert entry.progress.ReasonForCancellation.startswith("The server gave another object")


def test_an_image_whose_study_is_another_patients_is_held_and_not_reported(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"})
    stored = new_chest(
        tmp_path / "stored.dcm", StudyInstanceUID=film.study, PatientID="TEMPORARY", BodyPartExamined="CHEST"
    )
    store(worker.url, stored)
    film.entry.dataset.WorklistLabel = "CHEST"
    entry = ended(film.entry, "CANCELED")
    assert reason(entry) == codes.DCM.IncorrectWorklistEntrySelected.value
    assert "held until a person decides" in entry.progress.ReasonForCancellation


def test_an_image_that_is_here_already_is_not_fetched(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    """The server of its worklist does not answer; an image that is not here is missing then."""
    here = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"})
    store(worker.url, here.path)
    until(lambda: len(objects(pacs, here.study, "SR", "OT", "PR")) == 3 or None)
    here.entry.dataset.WorklistLabel = "AWAY"
    wrong = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE", "PatientID": "ANOTHER"})
    wrong.entry.dataset.InputInformationSequence = here.entry.dataset.InputInformationSequence
    wrong.entry.dataset.WorklistLabel = "AWAY"
    missing = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "AWAY"})
    by_store = outputs(ended(here.entry, "COMPLETED"), "DICOMRetrievalSequence")
    assert by_store == objects(pacs, here.study, "SR", "OT", "PR")
    assert reason(ended(wrong.entry, "CANCELED")) == codes.DCM.IncorrectWorklistEntrySelected.value
    assert reason(ended(missing.entry, "CANCELED")) == codes.DCM.ObjectSetIncomplete.value


def test_an_image_that_is_here_as_a_prior_alone_is_fetched_as_work(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    about: dict[str, Any] = {
        "PatientID": f"F-{generate_uid()[-12:]}",
        "StudyDescription": "FOLLOWED",
        "StudyDate": "20240101",
    }
    film = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"}, **about)
    store(worker.url, new_chest(tmp_path / "later.dcm", **{**about, "StudyDate": "20260301"}))
    until(lambda: httpx.get(f"{worker.url}/studies/{film.study}", timeout=60).status_code == 200 or None)
    film.entry.dataset.WorklistLabel = "CHEST"
    by_store = outputs(ended(film.entry, "COMPLETED"), "DICOMRetrievalSequence")
    assert by_store == objects(pacs, film.study, "SR", "OT", "PR")


def test_results_of_an_earlier_version_are_not_reported_with_uids_that_nobody_knows(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"})
    store(worker.url, film.path)
    until(lambda: len(objects(pacs, film.study, "SR", "OT", "PR")) == 3 or None)
    worker.said(rf"job={key_of(film.study)}-1-web attempt=1 state=done")
    worker.said(rf"job={key_of(film.study)}-1-pacs attempt=1 state=done")
    with closing(sqlite3.connect(worker.archive / "index.db", timeout=30)) as database, database:
        database.execute("DELETE FROM cxrserve_delivered WHERE job LIKE ?", (f"{key_of(film.study)}%",))
    film.entry.dataset.WorklistLabel = "CHEST"
    entry = ended(film.entry, "CANCELED")
    assert reason(entry) == codes.DCM.DiscontinuedForUnspecifiedReason.value
    assert entry.progress.ReasonForCancellation.startswith("The results were delivered before this version")


def test_a_workitem_that_names_a_study_alone_is_looked_up(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"})
    (item,) = film.entry.dataset.InputInformationSequence
    del item.ReferencedSOPSequence
    del item.SeriesInstanceUID
    film.entry.dataset.WorklistLabel = "CHEST"
    unknown = case(manager, pacs, tmp_path, workitem={"WorklistLabel": "NONE"})
    (item,) = unknown.entry.dataset.InputInformationSequence
    del item.ReferencedSOPSequence
    unknown.entry.dataset.WorklistLabel = "AWAY"
    nothing = case(manager, pacs, tmp_path, Modality="US", workitem={"InputInformationSequence": []})
    ended(film.entry, "COMPLETED")
    assert reason(ended(unknown.entry, "CANCELED")) == codes.DCM.ObjectSetIncomplete.value
    assert reason(ended(nothing.entry, "CANCELED")) == codes.DCM.ObjectTypesNotSupported.value


@pytest.mark.parametrize(
    ("description", "code"),
    [
        ("LOST", codes.DCM.EquipmentFailure.value),
        ("KEPT", codes.DCM.DiscontinuedForUnspecifiedReason.value),
    ],
)
def test_results_that_nobody_has_do_not_complete_a_workitem(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path, description: str, code: str
) -> None:
    film = case(manager, pacs, tmp_path, StudyDescription=description)
    assert reason(ended(film.entry, "CANCELED")) == code


def test_a_workitem_that_its_manager_ends_is_dropped(
    worker: Station, manager: Manager, pacs: Orthanc, tmp_path: Path
) -> None:
    film = case(manager, pacs, tmp_path, StudyDescription="SLOW")
    until(lambda: film.entry.state == "IN PROGRESS" or None)
    until(lambda: httpx.get(f"{worker.url}/studies/{film.study}", timeout=60).status_code == 200 or None)
    manager.cancel(film.entry)
    worker.said(r"worklist=chest dropped: its manager has ended or deleted it")
    assert film.entry.states == ["SCHEDULED", "IN PROGRESS", "CANCELED"]


def test_nothing_of_a_patient_is_logged(worker: Station, manager: Manager) -> None:
    lines = "\n".join(worker.lines)
    assert "worklist=chest" in lines
    assert PATIENT not in lines
    for entry in manager.entries.values():
        assert entry.dataset.SOPInstanceUID not in lines


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("step", ["claim", "update", "COMPLETED"])
def test_a_kill_before_an_answer_loses_and_doubles_nothing(
    tiny_bundle: Path, pacs: Orthanc, postgres_cluster: str, tmp_path: Path, step: str, database: str
) -> None:
    manager, archive = Manager(), tmp_path / "archive"
    manager.gives_ended = database == "sqlite"
    more = {"database_url": fresh_database(postgres_cluster)} if database == "postgres" else {}
    with serving(manager) as url:
        rules = rules_for(pacs, url)
        with station(tiny_bundle, archive, rules, **more) as running:
            manager.held = step
            manager.gate.clear()
            film = case(manager, pacs, tmp_path)
            until(lambda: manager.waiting or None)
            running.stop(signal.SIGKILL)
        manager.gate.set()
        with station(tiny_bundle, archive, rules, **more) as running:
            running.said(r"worklist=chest COMPLETED")
            entry = ended(film.entry, "COMPLETED")
    results = objects(pacs, film.study, "SR", "OT", "PR")
    assert len(results) == 3
    assert outputs(entry, "DICOMRetrievalSequence") == results


def test_of_two_workers_one_performs_a_workitem(tiny_bundle: Path, pacs: Orthanc, tmp_path: Path) -> None:
    manager = Manager()
    manager.claims = threading.Barrier(2)
    with ExitStack() as open_now:
        rules = rules_for(pacs, open_now.enter_context(serving(manager)))
        workers = [
            open_now.enter_context(station(tiny_bundle, tmp_path / name, rules)) for name in ("one", "two")
        ]
        film = case(manager, pacs, tmp_path)
        until(lambda: film.entry.state == "COMPLETED" or None)
        assert len(film.entry.transactions) == 2, "both have tried"
        assert film.entry.states == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
        words = [[line for line in each.lines if "worklist=chest" in line] for each in workers]
        assert sorted("taken: another performer was faster" in "".join(lines) for lines in words) == [
            False,
            True,
        ]
    assert len(objects(pacs, film.study, "SR", "OT", "PR")) == 3


def test_a_manager_that_is_away_for_a_while_is_asked_again(
    tiny_bundle: Path, pacs: Orthanc, tmp_path: Path
) -> None:
    manager, port = Manager(), free_port()
    rules = rules_for(pacs, f"http://127.0.0.1:{port}/ups")
    with station(tiny_bundle, tmp_path / "archive", rules, delivery_max_pause_s=1) as running:
        running.said(r"worklist=chest http://\S+ cannot be reached")
        with serving(manager, port):
            running.said(r"worklist=chest answers again")
            film = case(manager, pacs, tmp_path, StudyDescription="")
            manager.held = "claim"
            manager.gate.clear()
            until(lambda: manager.waiting or None)
        running.said(r"job=\S+-workitem attempt=\d+ state=waiting outcome=not-delivered")
        with serving(manager, port):
            ended(film.entry, "COMPLETED")


def scheduled(**elements: object) -> Dataset:
    """A workitem for the list CHEST, without inputs."""
    dataset = Dataset()
    dataset.WorklistLabel = "CHEST"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def client(url: str, **more: Any) -> UpsManager:
    peer = WorklistPeer(url=url, label="CHEST", images="archive", timeout_s=5, **more)
    return UpsManager(peer, {}, {}, "CXRSERVE", max_bytes=1)


def test_a_search_reads_every_page_and_puts_high_priority_first() -> None:
    manager = Manager()
    priorities = ("LOW", "MEDIUM", "HIGH", "MEDIUM", "HIGH")
    uids = [
        manager.add(scheduled(ScheduledProcedureStepPriority=each)).dataset.SOPInstanceUID
        for each in priorities
    ]
    manager.broken = ["nonsense", {"00080018": {"vr": "UI", "Value": ["../1"]}}, {"00741000": 7}]
    with serving(manager) as url:
        assert client(url).search() == [uids[index] for index in (2, 4, 1, 3, 0)]
        manager.broken, manager.ignores_offset = [], True
        assert client(url).search() == uids[1::-1], "the first page alone, and no end without one"


def test_entries_that_cannot_be_read_are_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager()
    with serving(manager) as url:
        searching = client(url)
        for broken in (1, 1, 2, 0, 1):
            manager.broken = ["nonsense"] * broken
            searching.search()
    said = [each.getMessage() for each in caplog.records if "cannot be read" in each.getMessage()]
    assert [line.partition("lists ")[2].partition(" ")[0] for line in said] == ["1", "2", "1"]


def test_the_page_of_a_proxy_is_no_list_of_workitems() -> None:
    manager = Manager()
    manager.proxy_page = "<html>Sign in</html>"
    with serving(manager) as url:
        for ask in (client(url).search, lambda: client(url).retrieve("1.2")):
            with pytest.raises(DeliveryError, match="no workitems in DICOM JSON") as refused:
                ask()
            assert refused.value.retryable


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID"])
@pytest.mark.parametrize("value", [[4711], ["A", "B"], [{"Alphabetic": "A"}]])
def test_a_patient_that_is_no_text_is_not_taken_for_none(keyword: str, value: list[object]) -> None:
    manager = Manager()
    entry = manager.add(scheduled(PatientID="A", IssuerOfPatientID="HERE"))
    uid = entry.dataset.SOPInstanceUID
    with serving(manager) as url:
        found = client(url).retrieve(uid)
        assert found is not None
        assert found.patient == Patient(patient_id="A", issuer="HERE")
        content = entry.dataset.to_json_dict()
        content[f"{tag_for_keyword(keyword):08X}"] = {"vr": "LO", "Value": value}
        manager.json = [content]
        with pytest.raises(DeliveryError, match=f"whose {keyword} is no single text") as refused:
            client(url).retrieve(uid)
        assert not refused.value.retryable


def test_another_workitem_is_not_taken_for_the_one_that_was_asked_for() -> None:
    manager = Manager()
    one, other = (manager.add(scheduled()).dataset for _ in range(2))
    with serving(manager) as url:
        manager.json = [other.to_json_dict()]
        with pytest.raises(DeliveryError, match="gives another workitem"):
            client(url).retrieve(one.SOPInstanceUID)


def test_a_token_is_read_again_for_every_request(tmp_path: Path) -> None:
    manager, secret = Manager(), tmp_path / "token"
    manager.token = "new"
    secret.write_text("old")
    with serving(manager) as url:
        asking = client(url, token_file=secret)
        with pytest.raises(DeliveryError, match="answered HTTP 401") as refused:
            asking.search()
        assert refused.value.retryable
        secret.write_text("new\n")
        assert asking.search() == []


def test_a_connection_is_checked() -> None:
    with serving(Manager()) as url:
        peer = WorklistPeer(url=url, label="CHEST", images="archive")
        assert echo(peer, "CXRSERVE") > 0
    with pytest.raises(DeliveryError, match="cannot be reached"):
        echo(peer, "CXRSERVE")


def test_the_codes_are_those_of_the_standard() -> None:
    known = {
        code.value: code.meaning
        for code in (getattr(codes.DCM, name) for name in dir(codes.DCM))
        if isinstance(code, Code)
    }
    for value, scheme, meaning in (*REASONS.values(), DEFAULT_WORKITEM_CODE):
        assert (scheme, known[value]) == ("DCM", meaning)
