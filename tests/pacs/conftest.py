"""One real Orthanc, one real station that sends to it, and radiographs as files, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests import radiographs
from tests.orthanc import Orthanc, orthanc
from tests.postgres import fresh_database, postgres
from tests.stations import Station, station
from training.phantom import write_phantoms


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An Orthanc that takes whatever it is sent."""
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[str]:
    """A PostgreSQL of our own."""
    with postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_cluster: str) -> str:
    """An empty database: it belongs to one archive folder, and each test has its own."""
    return fresh_database(postgres_cluster)


@pytest.fixture(scope="session")
def node(tiny_bundle: Path, pacs: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station whose results go to `pacs`: by STOW-RS for senders called WEB…, else by C-STORE."""
    rules = {
        "quiet_time_s": 0.2,
        "destinations": {
            "pacs": {
                "protocol": "dimse",
                "ae_title": "ORTHANC",
                "host": "127.0.0.1",
                "port": pacs.dicom_port,
                "timeout_s": 10,
            },
            "web": {"protocol": "stow", "url": pacs.dicom_web},
        },
        "rules": [
            {"name": "web", "match": {"calling_ae": "WEB*"}, "destinations": ["web"]},
            {"name": "kept", "match": {"calling_ae": "KEEP*"}},
            {
                "name": "radiographs",
                "match": {"modality": ["CR", "DX", "OT"]},
                "destinations": ["pacs"],
            },
        ],
    }
    archive = tmp_path_factory.mktemp("station") / "archive"
    with station(tiny_bundle, archive, rules, dicom_accept_timeout_s=2, dicom_idle_timeout_s=5) as running:
        yield running


@pytest.fixture
def chest_file(tmp_path: Path) -> Path:
    """A small radiograph with UIDs of its own, explicit little endian."""
    return new_chest(tmp_path / "chest.dcm")


@pytest.fixture
def phantom_file(tmp_path: Path) -> Path:
    """A phantom, as users get it."""
    write_phantoms(tmp_path / "phantoms", count=1, seed=3, format="dicom")
    (found,) = (tmp_path / "phantoms").glob("*.dcm")
    return with_new_uids(found, tmp_path / "phantom.dcm")


def new_chest(path: Path, **elements: object) -> Path:
    """Write a small radiograph with UIDs of its own to `path`."""
    uids = {name: generate_uid() for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    made = radiographs.dataset(120, 100, **{**uids, **elements})
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.save_as(path, enforce_file_format=True)
    return path


def with_new_uids(source: Path, target: Path) -> Path:
    """A copy of `source` that is an object, a series and a study of its own."""
    dataset = dcmread(source)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()
    dataset.save_as(target)
    return target
