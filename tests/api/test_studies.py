"""The worklist over HTTP, and who may ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cxrserve.api import app
from cxrserve.api.app import create_app
from cxrserve.api.server import Server
from cxrserve.archive.archive import Archive
from cxrserve.archive.destination import Puller
from cxrserve.archive.receipt import Source
from cxrserve.pipeline.pipeline import Pipeline
from tests import radiographs
from tests.conftest import MakeSettings
from tests.servers import Running, running_server

STUDY = "1.2.826.0.1.3680043.10.1"
SECRET = "a secret of sixteen characters"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive folder whose rules wait but a moment."""
    folder = tmp_path_factory.mktemp("studies")
    rules = {"quiet_time_s": 0.1, "rules": [{"name": "all"}]}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    return folder


@contextmanager
def serving(
    make_settings: MakeSettings, folder: Path, puller: Puller | None = None, **overrides: object
) -> Iterator[tuple[str, Archive]]:
    """A server with an archive; its URL."""
    made = {"archive": folder / "archive", "rules": folder / "rules.yaml", "archive_min_free_bytes": 1}
    settings = make_settings(**{**made, **overrides})
    with (
        Pipeline(settings) as pipeline,
        Archive.open(settings, pipeline, {}) as archive,
        running_server(Server(create_app(settings, pipeline, archive, puller), settings)) as running,
    ):
        yield f"http://127.0.0.1:{running.port}", archive


@pytest.fixture(scope="module")
def url(make_settings: MakeSettings, folder: Path) -> Iterator[str]:
    """A server that has read one radiograph, and refused another of the same study."""
    with serving(make_settings, folder) as (url, archive):
        for number, elements in enumerate(({}, {"PresentationIntentType": "FOR PROCESSING"})):
            data = radiographs.dicom(
                96,
                80,
                StudyInstanceUID=STUDY,
                SOPInstanceUID=f"{STUDY}.{number}",
                PatientName="Doe^Jane",
                AccessionNumber="A17",
                **elements,
            )
            archive.receive(data, Source(protocol="file"))
        until = time.monotonic() + 240  # a wait, no promise of speed: other tests may hold all cores
        while ask(url, STUDY).json()["state"] != "done":
            assert time.monotonic() < until
            time.sleep(0.05)
        yield url


def ask(url: str, path: str = "", **options: Any) -> httpx.Response:
    """GET below /studies."""
    return httpx.get(f"{url}/studies{'/' if path else ''}{path}", timeout=30, **options)


def test_the_worklist(url: str) -> None:
    (study,) = ask(url).json()["studies"]
    assert study["study_instance_uid"] == STUDY
    assert (study["patient_name"], study["accession_number"]) == ("Doe^Jane", "A17")
    assert (study["state"], study["priority"], study["images"]) == ("done", "routine", 2)
    assert study["positive"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"search": "jane"}, 1),
        ({"search": "a17"}, 1),
        ({"search": STUDY}, 1),
        ({"search": "%"}, 0),
        ({"state": "done"}, 1),
        ({"state": "failed"}, 0),
        ({"state": "receiving"}, 0),
    ],
)
def test_searching(url: str, query: dict[str, str], found: int) -> None:
    assert len(ask(url, params=query).json()["studies"]) == found


def test_polling_costs_next_to_nothing(url: str) -> None:
    first = ask(url)
    again = ask(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ask(url, headers={"If-None-Match": 'W/"0"'}).status_code == 200


def test_one_study_and_its_images(url: str) -> None:
    images = ask(url, STUDY).json()["images"]
    assert [each["state"] for each in images] == ["done", "refused"]
    assert [(each["rows"], each["columns"], each["view"]) for each in images] == [(96, 80, "PA")] * 2
    assert images[0]["problem"] is None
    assert images[1]["problem"]["slug"] == "not-for-presentation"


def test_an_image_and_its_answer(url: str) -> None:
    image = ask(url, f"{STUDY}/images/{STUDY}.0")
    assert image.headers["Content-Type"] == "application/dicom"
    assert image.content[128:132] == b"DICM"
    answer = ask(url, f"{STUDY}/images/{STUDY}.0/answer").json()
    assert answer["image"]["sop_instance_uid"] == f"{STUDY}.0"
    assert ask(url, f"{STUDY}/images/{STUDY}.1/answer").status_code == 404


def test_results_as_dicom_and_fhir(url: str) -> None:
    results = ask(url, f"{STUDY}/results")
    assert results.headers["Content-Type"].startswith(
        'multipart/related; type="application/dicom"; boundary='
    )
    boundary = results.headers["Content-Type"].rpartition("=")[2]
    parts = results.content.split(f"--{boundary}".encode())
    assert [b"DICM" in part for part in parts] == [False, True, True, True, False]
    fhir = ask(url, f"{STUDY}/fhir")
    assert fhir.headers["Content-Type"] == "application/fhir+json"
    assert fhir.json()["resourceType"] == "DiagnosticReport"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("1.2.3", 404),
        ("1.2.3/results", 404),
        ("1.2.3/fhir", 404),
        (f"{STUDY}/images/1.2.3", 404),
        (f"{STUDY}/images/..%2f..%2fetc", 404),
        ("not-a-uid", 400),
        ("1" * 65, 400),
    ],
)
def test_what_is_not_there_is_a_problem(url: str, path: str, status: int) -> None:
    answer = ask(url, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_without_a_pacs_nothing_can_be_fetched(url: str) -> None:
    answer = httpx.post(f"{url}/studies/{STUDY}")
    assert answer.status_code == 400
    assert "no PACS to fetch from" in answer.json()["detail"]


def test_a_pacs_that_takes_its_time_does_not_hold_the_worklist_up(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    gone_on = threading.Event()

    def slow(study_instance_uid: str) -> int:
        gone_on.wait(60)
        return len(study_instance_uid)

    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": [{"name": "all"}]}))
    with serving(make_settings, tmp_path, slow) as (url, _), ThreadPoolExecutor(40) as askers:
        asked = [askers.submit(httpx.post, f"{url}/studies/{STUDY}", timeout=60) for _ in range(40)]
        assert [httpx.post(f"{url}/studies/{wrong}").status_code for wrong in ("1..2", "1.2.")] == [400, 400]
        assert ask(url).status_code == 200
        assert not any(each.done() for each in asked)
        gone_on.set()
        assert {each.result().json()["objects"] for each in asked} == {len(STUDY)}


def test_without_an_archive_there_is_no_worklist(server: Running) -> None:
    assert httpx.get(f"{server.url}/studies").status_code == 404


def test_another_name_of_this_machine_is_refused(url: str) -> None:
    """A page that has its name resolve to 127.0.0.1 must not read the worklist."""
    for host, status in (("evil.example", 403), ("localhost", 200), ("[::1]:80", 200), ("127.0.0.1", 200)):
        assert ask(url, headers={"Host": host}).status_code == status


def test_the_page_of_another_site_makes_nothing_happen(url: str) -> None:
    """A browser sends a bare POST of any page, without asking first (CSRF)."""
    for origin, status in (
        ("http://evil.example", 403),
        ("http://127.0.0.1:1", 403),
        ("null", 403),
        (url, 400),
    ):
        assert httpx.post(f"{url}/studies/{STUDY}", headers={"Origin": origin}).status_code == status


def test_beyond_this_machine_patients_need_a_token(
    make_settings: MakeSettings, tmp_path: Path, folder: Path
) -> None:
    made: dict[str, Any] = {"archive": tmp_path / "archive", "host": "0.0.0.0"}
    with serving(make_settings, folder, **made) as (url, _):
        assert ask(url).status_code == 403
        assert ask(url).json()["type"] == "/problems/forbidden"
        assert httpx.post(f"{url}/dicom-web/studies").status_code == 403
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.get(f"{url}/model").status_code == 200


def test_a_token_opens_all_and_nothing_else_does(
    make_settings: MakeSettings, tmp_path: Path, folder: Path, chest_jpeg: bytes
) -> None:
    made: dict[str, Any] = {"archive": tmp_path / "archive", "host": "0.0.0.0", "token": SECRET}
    with serving(make_settings, folder, **made) as (url, _):
        right = {"Authorization": f"Bearer {SECRET}"}
        assert ask(url, headers=right).status_code == 200
        assert ask(url, headers={"Authorization": f"bearer {SECRET}"}).status_code == 200
        wrong: list[dict[str, str]] = [
            {},
            {"Authorization": "Bearer"},
            {"Authorization": SECRET},
            {"Authorization": f"Bearer {SECRET}x"},
            {"Authorization": f"Basic {SECRET}"},
            {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
        ]
        for headers in wrong:
            answer = ask(url, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert SECRET not in answer.text
        for path in ("/model", "/metrics", "/studies", f"/studies/{STUDY}/results"):
            assert httpx.get(url + path).status_code == 401
        assert httpx.post(f"{url}/predict", content=chest_jpeg).status_code == 401
        assert httpx.post(f"{url}/predict", content=chest_jpeg, headers=right).status_code == 200
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/problems/unauthorized"):
            assert httpx.get(url + path).status_code == 200


def test_the_token_is_shown_nowhere(make_settings: MakeSettings) -> None:
    settings = make_settings(token=SECRET, database_url=f"postgresql://user:{SECRET}@host/name")
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())


def test_the_queue_behind_a_slow_pacs_is_bounded(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_MAX_REQUESTED_PULLS", 4)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"rules": [{"name": "all"}]}))
    go_on, inside = threading.Event(), threading.Semaphore(0)

    def puller(study_instance_uid: str) -> int:
        inside.release()
        assert go_on.wait(240)
        return 1

    def pull(url: str) -> httpx.Response:
        return httpx.post(f"{url}/studies/{STUDY}", timeout=240)

    with serving(make_settings, tmp_path, puller) as (url, _), ThreadPoolExecutor(4) as clients:
        waiting = [clients.submit(pull, url) for _ in range(4)]
        for _ in range(4):
            assert inside.acquire(timeout=240)
        fifth = pull(url)
        assert (fifth.status_code, fifth.headers["Retry-After"]) == (503, "30")
        assert ask(url).status_code == 200
        go_on.set()
        assert [client.result().json() for client in waiting] == [{"objects": 1}] * 4
        assert pull(url).status_code == 200
