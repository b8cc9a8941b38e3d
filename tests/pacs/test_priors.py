"""A patient's earlier studies, fetched from a real PACS because a rule asks for them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from cxrserve.archive.destination import PriorsWanted
from cxrserve.archive.peers import PullServer
from cxrserve.pacs.priors import earlier_studies
from tests import dcmtk, radiographs
from tests.orthanc import Orthanc, free_port, orthanc
from tests.pacs.conftest import new_chest
from tests.postgres import fresh_database
from tests.stations import Station, station
from tests.waiting import until

Stored = Callable[..., str]


def rules_for(pacs: Orthanc, **priors: object) -> dict[str, object]:
    return {
        "quiet_time_s": 0.2,
        "destinations": {
            "pacs": {"protocol": "dimse", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port}
        },
        "servers": {"archive": {"url": pacs.dicom_web}},
        "rules": [
            {
                "name": "chests",
                "match": {"body_part": "CHEST", "calling_ae": "STORESCU"},
                "priors": {"server": "archive"} | priors,
                "destinations": ["pacs"],
                "results": ["report"],
            }
        ],
    }


@pytest.fixture
def stored(pacs: Orthanc, tmp_path: Path) -> Stored:
    """Puts a chest into the PACS; its Study Instance UID."""

    def put(patient: str, date: str, body_part: str = "CHEST", **elements: object) -> str:
        study = generate_uid()
        path = tmp_path / f"{study}.dcm"
        about = {
            "StudyInstanceUID": study,
            "PatientID": patient,
            "StudyDate": date,
            "BodyPartExamined": body_part,
        }
        assert "Success" in dcmtk.storescu(
            pacs.dicom_port, new_chest(path, **about, **elements), ae="ORTHANC"
        )
        return study

    return put


def send(running: Station, path: Path, patient: str, **elements: object) -> str:
    """Send a chest of 2026 to the station; its Study Instance UID."""
    study = generate_uid()
    about = {
        "StudyInstanceUID": study,
        "PatientID": patient,
        "StudyDate": "20260301",
        "BodyPartExamined": "CHEST",
    }
    assert "Success" in dcmtk.storescu(running.dicom_port, new_chest(path, **about, **elements))
    return study


def studies(running: Station, patient: str) -> dict[str, str]:
    """State of each study of a patient, as the viewer finds them."""
    found = httpx.get(f"{running.url}/studies", params={"search": patient}, timeout=60).json()
    return {study["study_instance_uid"]: study["state"] for study in found["studies"]}


def modalities(pacs: Orthanc, study: str) -> list[str]:
    return sorted(dcmread(io.BytesIO(pacs.file(name))).Modality for name in pacs.wait_for_study(study, 1))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_last_studies_of_the_patient_come_and_stay(
    tiny_bundle: Path, pacs: Orthanc, postgres_cluster: str, stored: Stored, tmp_path: Path, database: str
) -> None:
    patient = f"P-{generate_uid()[-12:]}"
    oldest, older, newest = (stored(patient, date) for date in ("20200101", "20220101", "20240101"))
    knee = stored(patient, "20250101", "KNEE")
    later, ultrasound = stored(patient, "20260401"), stored(patient, "20250601", Modality="US")
    other_issuer = stored(patient, "20250301", IssuerOfPatientID="ELSEWHERE")
    others = stored(patient.lower(), "20250201")
    more = {"database_url": fresh_database(postgres_cluster)} if database == "postgres" else {}
    archive = tmp_path / "archive"
    audit = f"file:{archive.with_suffix('.audit')}"
    with station(tiny_bundle, archive, rules_for(pacs), audit=audit, **more) as running:
        current = send(running, tmp_path / "now.dcm", patient, IssuerOfPatientID="HERE")
        until(lambda: studies(running, patient) == dict.fromkeys((current, older, newest), "done"), 120)
        pacs.wait_for_study(current, 1, 120)
        running.said(r"job=\S+-priors .*state=done", 120)
        listed = httpx.get(f"{running.url}/studies", timeout=60).json()["studies"]
        assert [each["prior"] for each in listed] == [False, True, True]
        assert listed[0]["study_instance_uid"] == current, "priors came later, and stand below all work"
        # The viewer's next picture and the earlier probability come from these.
        found = httpx.get(f"{running.url}/studies/{newest}", timeout=60).json()
        (image,) = found["images"]
        answer = httpx.get(
            f"{running.url}/studies/{newest}/images/{image['sop_instance_uid']}/answer", timeout=60
        )
        assert len(answer.json()["findings"]) == 14
        # A second image of the current study asks for nothing again, and nothing of the priors is sent.
        send(running, tmp_path / "other.dcm", f"{patient}-2")
        until(lambda: len(studies(running, f"{patient}-2")) == 1, 60)
    assert modalities(pacs, current) == ["SR"]
    for study in (oldest, older, newest, knee, later, other_issuer, others):
        assert modalities(pacs, study) == ["DX"]
    assert modalities(pacs, ultrasound) == ["US"]
    events = [json.loads(line) for line in archive.with_suffix(".audit").read_text().splitlines()]
    (pulled,) = [event for event in events if event["action"] == "pull"]
    assert (pulled["user"], pulled["detail"]) == ("archive", "priors")
    assert set(pulled["studies"]) == {older, newest}


@pytest.fixture
def moving(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Orthanc, int]]:
    """A PACS that knows a station by C-MOVE, and the DICOM port that this station must have."""
    port = free_port()
    known = {"station": ["CXRSERVE", "127.0.0.1", port]}
    more = getattr(request, "param", {})
    with orthanc(tmp_path / "orthanc", DicomModalities=known, **more) as running:
        yield running, port


def put(pacs: Orthanc, study: str, patient: str, date: str, **elements: object) -> None:
    """Store one chest image in `pacs`."""
    about = {"PatientID": patient, "StudyDate": date, "BodyPartExamined": "CHEST", **elements}
    uids = {"SOPInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "StudyInstanceUID": study}
    file = radiographs.dicom(120, 100, **uids, **about)
    httpx.post(f"{pacs.url}/instances", content=file, timeout=60).raise_for_status()


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_dimse_peer_is_asked_by_find_and_sends_by_move(
    tiny_bundle: Path,
    moving: tuple[Orthanc, int],
    postgres_cluster: str,
    tmp_path: Path,
    database: str,
) -> None:
    pacs, port = moving
    patient = f"P-{generate_uid()[-12:]}"
    oldest, older, newest, knee, later, ultrasound, issuer, other = (generate_uid() for _ in range(8))
    for study, date in ((oldest, "20200101"), (older, "20220101"), (newest, "20240101"), (later, "20260401")):
        put(pacs, study, patient, date)
    put(pacs, older, patient, "20220101")  # a second image
    put(pacs, older, patient, "20220101", Modality="US")
    put(pacs, knee, patient, "20250101", BodyPartExamined="KNEE")
    put(pacs, ultrasound, patient, "20250601", Modality="US")
    put(pacs, issuer, patient, "20250301", IssuerOfPatientID="ELSEWHERE")
    put(pacs, other, patient.lower(), "20250201")
    rules = rules_for(pacs, server="pacs")
    more = {"database_url": fresh_database(postgres_cluster)} if database == "postgres" else {}
    archive = tmp_path / "archive"
    audit = f"file:{archive.with_suffix('.audit')}"
    with station(tiny_bundle, archive, rules, audit=audit, dicom_port=port, **more) as running:
        current = send(running, tmp_path / "now.dcm", patient, IssuerOfPatientID="HERE")
        until(lambda: studies(running, patient) == dict.fromkeys((current, older, newest), "done"), 120)
        running.said(r"job=\S+-priors attempt=1 state=done", 120)
        pacs.wait_for_study(current, 1, 120)
        listed = httpx.get(f"{running.url}/studies", timeout=60).json()["studies"]
        assert [each["prior"] for each in listed] == [False, True, True]
        assert {each["study_instance_uid"]: each["images"] for each in listed}[older] == 2
        running.said("server=pacs priors=2")
    assert modalities(pacs, current) == ["SR"]
    assert modalities(pacs, older) == ["DX", "DX", "US"], "nothing of the priors is sent"
    assert modalities(pacs, newest) == ["DX"]
    events = [json.loads(line) for line in archive.with_suffix(".audit").read_text().splitlines()]
    (pulled,) = [event for event in events if event["action"] == "pull"]
    assert (pulled["user"], pulled["detail"]) == ("pacs", "priors")
    assert set(pulled["studies"]) == {older, newest}


@pytest.mark.parametrize("moving", [{"SynchronousCMove": False}], indirect=True)
def test_a_peer_may_send_after_its_answer(
    tiny_bundle: Path, moving: tuple[Orthanc, int], tmp_path: Path
) -> None:
    pacs, port = moving
    patient, prior = f"L-{generate_uid()[-12:]}", generate_uid()
    put(pacs, prior, patient, "20240101")
    archive = tmp_path / "archive"
    with station(tiny_bundle, archive, rules_for(pacs, server="pacs"), dicom_port=port) as running:
        current = send(running, tmp_path / "now.dcm", patient)
        running.said(r"job=\S+-priors server=pacs priors=1", 120)
        until(lambda: studies(running, patient) == dict.fromkeys((current, prior), "done"), 120)
        pacs.wait_for_study(current, 1, 120)
    assert modalities(pacs, prior) == ["DX"]


def test_a_peer_that_does_not_know_the_station_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    """Nothing is lost: the current study is analysed, the job stays in the queue and names the reason."""
    patient = f"N-{generate_uid()[-12:]}"
    with orthanc(tmp_path / "orthanc", DicomAlwaysAllowFind=True, DicomAlwaysAllowMove=True) as stranger:
        put(stranger, generate_uid(), patient, "20240101")
        rules = rules_for(stranger, server="pacs")
        with station(tiny_bundle, tmp_path / "archive", rules, delivery_max_pause_s=1) as running:
            study = send(running, tmp_path / "now.dcm", patient)
            stranger.wait_for_study(study, 1, 120)
            running.said(r"job=\S+-priors attempt=2 state=waiting outcome=not-delivered", 120)
            assert studies(running, patient) == {study: "done"}


def test_an_image_that_comes_unasked_is_work(
    tiny_bundle: Path, moving: tuple[Orthanc, int], tmp_path: Path
) -> None:
    """Also from the peer that sends the priors, for the same patient."""
    pacs, port = moving
    patient, forwarded = f"U-{generate_uid()[-12:]}", generate_uid()
    rules = rules_for(pacs, server="pacs")
    rules["rules"][0]["match"] = {"body_part": "CHEST"}  # type: ignore[index]
    with station(tiny_bundle, tmp_path / "archive", rules, dicom_port=port) as running:
        send(running, tmp_path / "now.dcm", patient)
        running.said(r"job=\S+-priors attempt=1 state=done", 120)
        put(pacs, forwarded, patient, "20200101")
        asked = {"Resources": [pacs.wait_for_study(forwarded, 1)[0]]}
        httpx.post(f"{pacs.url}/modalities/station/store", json=asked, timeout=60).raise_for_status()
        until(lambda: modalities(pacs, forwarded) == ["DX", "SR"], 120)


def test_a_prior_that_is_asked_for_is_work(
    tiny_bundle: Path, pacs: Orthanc, stored: Stored, tmp_path: Path
) -> None:
    patient = f"A-{generate_uid()[-12:]}"
    older = stored(patient, "20240101")
    rules = rules_for(pacs)
    rules["rules"][0]["match"] = {"body_part": "CHEST"}  # type: ignore[index]
    with station(tiny_bundle, tmp_path / "archive", rules) as running:
        current = send(running, tmp_path / "now.dcm", patient)
        until(lambda: studies(running, patient) == dict.fromkeys((current, older), "done"), 120)
        assert modalities(pacs, older) == ["DX"]
        objects = [
            httpx.post(f"{running.url}/studies/{older}", timeout=60).json()["objects"] for _ in range(2)
        ]
        assert objects == [1, 0]
        until(lambda: modalities(pacs, older) == ["DX", "SR"], 120)


def test_a_patient_id_is_no_pattern(pacs: Orthanc, stored: Stored) -> None:
    """PS3.4 C.2.2.2.4: a PACS may take * and ? for wild cards; Orthanc takes any case for the same."""
    prefix = f"W-{generate_uid()[-12:]}"
    stored(f"{prefix}-1", "20200101")

    def found(patient: str, before: str = "") -> list[str]:
        wanted = PriorsWanted(
            server="archive",
            studies=2,
            patient_id=patient,
            issuer="",
            study_instance_uid="1.2",
            study_date=before,
        )
        return earlier_studies(PullServer(url=pacs.dicom_web), wanted)

    assert len(found(f"{prefix}-1")) == 1
    assert found(f"{prefix}-1", "20191231") == []
    assert found(f"{prefix.lower()}-1") == []
    assert found(f"{prefix}-*") == []
    assert found("*") == []


def test_a_pacs_that_is_away_is_asked_again(tiny_bundle: Path, pacs: Orthanc, tmp_path: Path) -> None:
    """The current study does not wait for it, and the queue says what is missing."""
    rules = rules_for(pacs) | {"servers": {"archive": {"url": "http://127.0.0.1:9"}}}
    with station(tiny_bundle, tmp_path / "archive", rules, delivery_max_pause_s=1) as running:
        study = send(running, tmp_path / "now.dcm", f"A-{generate_uid()[-12:]}")
        pacs.wait_for_study(study, 1, 120)
        running.said(r"job=\S+-priors attempt=2 state=waiting outcome=not-delivered", 120)


def test_a_study_without_a_patient_fetches_nothing(
    tiny_bundle: Path, pacs: Orthanc, tmp_path: Path, stored: Stored
) -> None:
    stored("", "20200101")
    with station(tiny_bundle, tmp_path / "archive", rules_for(pacs)) as running:
        send(running, tmp_path / "now.dcm", "")
        running.said("fetches no priors: the study names no patient", 120)
        running.said(r"job=\S+-priors attempt=1 state=done", 120)
        assert len(studies(running, "")) == 1
