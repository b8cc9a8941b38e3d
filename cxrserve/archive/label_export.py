"""Export of readers' labels, for `cxrserve site draft` and `check`: a table, and the films that it names."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from cxrserve.archive.jobs.job_store import open_database
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.files import DamagedObject, Store
from cxrserve.archive.storage.tables import LABELS, OBJECTS, STUDIES
from cxrserve.errors import RequestError
from cxrserve.findings import NAMES
from cxrserve.settings import Settings

_CELLS: Final = {"present": "1", "absent": "0"}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Counts of an export.

    Attributes:
        labels: cells of the table that say 1 or 0.
        missing: films of labelled studies that could not be written: deleted by retention, or damaged.
        studies: Study Instance UIDs, for the audit trail.
    """

    films: int
    labels: int
    missing: int
    studies: tuple[str, ...]


class _Film(NamedTuple):
    """An image of a labelled study."""

    study_key: str
    study_instance_uid: str
    patient: tuple[str, str]
    sha256: str
    expired: int
    calling_ae: str


def export_labels(
    settings: Settings,
    folder: Path,
    *,
    since: float | None = None,
    until: float | None = None,
    stations: Mapping[str, str] | None = None,
) -> Exported:
    """Write `labels.csv`, and the films below `films/`, into a new folder.

    A label of a study is written for each of its images that were read. Patients are numbered: the table
    holds no name and no ID, while the films are as they were received.

    Args:
        since, until: only studies whose first image was received from then on, and before then.
        stations: the name of the station of each AE title, from a site file.

    Raises:
        RequestError: the folder exists, or there is no label.
        ConfigurationError: there is no archive.
    """
    if folder.exists():
        raise RequestError(f"{folder} is there already; give a new folder.")
    with _archive(settings) as (store, database):
        labels, films = _read(database, since, until)
        if not films:
            raise RequestError(
                "no reader has given a label that says present or absent for a study of that time. Labels "
                "are given in the viewer, for studies of the archive."
            )
        (folder / "films").mkdir(parents=True, mode=0o700)
        rows, missing = [], 0
        patients: dict[tuple[str, str], str] = {}
        for film in films:
            patient = patients.setdefault(film.patient, f"p{len(patients) + 1}")
            name = f"{film.sha256}.dcm"
            if film.expired or not _copied(store, film.sha256, folder / "films" / name):
                missing += 1
                continue
            said = labels[film.study_key]
            station = (stations or {}).get(film.calling_ae, "")
            rows.append(
                [name, patient, station, *(_CELLS.get(said.get(finding, ""), "") for finding in NAMES)]
            )
    with (folder / "labels.csv").open("x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "patient", "station", *NAMES], *rows])
    return Exported(
        films=len(rows),
        labels=sum(cell != "" for row in rows for cell in row[3:]),
        missing=missing,
        studies=tuple(dict.fromkeys(film.study_instance_uid for film in films)),
    )


def _read(
    database: Database, since: float | None, until: float | None
) -> tuple[dict[str, dict[str, str]], list[_Film]]:
    """The newest label of each finding by study, and the images that were read of studies with one."""
    period = [STUDIES.c.received >= since] if since is not None else []
    period += [STUDIES.c.received < until] if until is not None else []
    given = sa.select(LABELS.c.study_key, LABELS.c.finding, LABELS.c.label).order_by(
        LABELS.c.study_key, LABELS.c.number
    )
    images = (
        sa.select(
            STUDIES.c.key,
            STUDIES.c.study_instance_uid,
            STUDIES.c.patient_id,
            STUDIES.c.patient_id_issuer,
            OBJECTS.c.sha256,
            OBJECTS.c.expired,
            OBJECTS.c.calling_ae,
        )
        .join(OBJECTS, OBJECTS.c.study_key == STUDIES.c.key)
        .where(OBJECTS.c.state == "done", *period)
        .order_by(STUDIES.c.received, STUDIES.c.key, OBJECTS.c.arrival)
    )
    labels: dict[str, dict[str, str]] = {}
    with database.reading() as connection:
        for key, finding, label in connection.execute(given):
            labels.setdefault(key, {})[finding] = label
        films = [
            # An empty Patient ID says nothing: such a study stands for a patient of its own.
            _Film(key, uid, (patient, issuer) if patient else (key, ""), *rest)
            for key, uid, patient, issuer, *rest in connection.execute(images)
            if _CELLS.keys() & set(labels.get(key, {}).values())
        ]
    return labels, films


@contextmanager
def _archive(settings: Settings) -> Iterator[tuple[Store, Database]]:
    database = open_database(settings, must_exist=True)
    try:
        assert settings.archive is not None  # noqa: S101 - `open_database` has refused it
        store = Store(settings.archive, f"command {os.getpid()}")
        yield store, database
        store.remove_unfinished()
    finally:
        database.close()


def _copied(store: Store, digest: str, path: Path) -> bool:
    """Copy a stored object; False where it is damaged."""
    try:
        with store.open(digest) as source, path.open("xb") as copy:
            shutil.copyfileobj(source, copy)
    except DamagedObject:
        return False
    path.chmod(0o600)
    return True
