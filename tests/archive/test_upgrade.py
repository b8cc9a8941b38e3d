"""An archive that an earlier version has left opens, and everything that was pending is still done."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cxrserve.archive.archive import Archive
from cxrserve.archive.destination import CommitmentRequest
from cxrserve.archive.receipt import Source
from cxrserve.archive.storage.tables import (
    ARCHIVE_IDENTITY,
    JOBS,
    OBJECTS,
    STUDIES,
    IdentityRow,
    JobRow,
    ObjectRow,
    StudyRow,
)
from tests.archive.conftest import SENDER, OpenArchive, Peer, away, chest, study_of
from tests.waiting import until

# The table of jobs as versions 1 to 3 of the schema created it.
JOBS_3 = """
CREATE TABLE cxrserve_jobs (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    study_key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    covers INTEGER NOT NULL,
    destination TEXT NOT NULL,
    files TEXT NOT NULL,
    stat INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    started INTEGER NOT NULL,
    tried_s FLOAT NOT NULL,
    problem TEXT,
    created FLOAT NOT NULL,
    changed FLOAT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(study_key) REFERENCES cxrserve_studies (key)
);
CREATE INDEX ix_cxrserve_jobs_study_key ON cxrserve_jobs (study_key);
CREATE INDEX ix_cxrserve_jobs_state ON cxrserve_jobs (state);
"""
# What a node of that version had handed to its engine of workflows, and what had not come that far.
DOWNGRADE = f"""
ALTER TABLE cxrserve_jobs RENAME TO newer;
DROP INDEX ix_cxrserve_jobs_study_key;
DROP INDEX ix_cxrserve_jobs_state;
{JOBS_3}
INSERT INTO cxrserve_jobs SELECT id, kind, study_key, revision, covers, destination, payload, stat, state,
    attempts, attempts + 1, tried_s, problem, created, changed FROM newer;
DROP TABLE newer;
DROP INDEX ix_cxrserve_quarantine_study_key;
ALTER TABLE cxrserve_quarantine DROP COLUMN study_key;
ALTER TABLE cxrserve_studies DROP COLUMN corrected;
ALTER TABLE cxrserve_studies DROP COLUMN corrections;
ALTER TABLE cxrserve_studies DROP COLUMN former;
ALTER TABLE cxrserve_studies DROP COLUMN prior;
ALTER TABLE cxrserve_objects DROP COLUMN results;
ALTER TABLE cxrserve_objects DROP COLUMN replaces;
ALTER TABLE cxrserve_objects DROP COLUMN corrected;
UPDATE cxrserve_meta SET version = 3;
"""
TO_VERSION_1 = """
ALTER TABLE cxrserve_studies DROP COLUMN patient_id_issuer;
ALTER TABLE cxrserve_quarantine DROP COLUMN reason;
ALTER TABLE cxrserve_studies DROP COLUMN search;
UPDATE cxrserve_meta SET version = 1;
"""


class Reporter:
    """Receives reports of Storage Commitment."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, set[str]]] = []

    def report(self, request: CommitmentRequest, missing: Any) -> None:
        """As `CommitmentReporter`."""
        self.reports.append((request.transaction_uid, set(missing)))


def run_script(folder: Path, database_url: str, script: str) -> None:
    if database_url:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        return
    database = sqlite3.connect(folder / "index.db")
    database.executescript(script)
    database.close()


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_pending_work_is_carried_over(
    open_archive: OpenArchive, tmp_path: Path, where: str, version: int, request: pytest.FixtureRequest
) -> None:
    """A delivery that nobody took, a dead letter, an image that no revision covers, and a commitment."""
    url = request.getfixturevalue("postgres_url") if where == "postgres" else ""
    settings: dict[str, Any] = {"database_url": url, "node_name": "upgraded"} if url else {}
    peer, folder = Peer(), tmp_path / "archive"
    peer.error = away(retryable=False)
    archive = open_archive(folder, peer, **settings)
    dead_study = archive.receive(chest(), SENDER).study_instance_uid
    (dead,) = until(lambda: archive.jobs.jobs("dead"))
    peer.error = away()
    delayed = archive.receive(chest(PatientID="ÄNNE"), SENDER)
    until(lambda: [job for job in archive.jobs.jobs("waiting") if job.attempts])
    archive.close()
    archive = open_archive(folder, peer, {"quiet_time_s": 1.0}, **settings)
    unread = archive.receive(chest(), SENDER)
    archive.close()

    run_script(folder, url, DOWNGRADE + (TO_VERSION_1 if version == 1 else ""))
    (folder / "work.db").write_bytes(b"of the engine of workflows")
    commitments = folder / "commitments"
    commitments.mkdir()
    stored, unknown = [unread.sop_class_uid, unread.sop_instance_uid], [unread.sop_class_uid, "1.2.3"]
    asked = {"ae": "MODALITY", "host": "127.0.0.1", "port": 104, "tls": None, "since": 1.0}
    (commitments / "0b0b.json").write_text(
        json.dumps(asked | {"transaction": "1.9", "objects": [stored, unknown]})
    )
    (commitments / "damaged.json").write_text("{")

    peer.error = None
    peer.received.clear()
    archive = open_archive(folder, peer, **settings)
    until(lambda: len(peer.of("SR")) == 2)
    sent = {str(each.StudyInstanceUID) for each in peer.of("SR")}
    assert sent == {delayed.study_instance_uid, unread.study_instance_uid}
    assert sorted(each.Modality for each in peer.received) == ["OT", "OT", "PR", "PR", "SR", "SR"]
    assert study_of(archive, unread).state == "done"
    assert [each.patient_id for each in archive.worklist.studies(search="änne")] == ["ÄNNE"]
    (still_dead,) = archive.jobs.jobs("dead")
    assert (still_dead.id, still_dead.study_instance_uid) == (dead.id, dead_study)
    (commitment,) = [job for job in archive.jobs.jobs() if job.kind == "commitment"]
    assert (commitment.destination, commitment.state, commitment.attempts) == ("MODALITY", "waiting", 0)
    assert commitment.commitment is not None
    assert commitment.commitment.objects == (tuple(stored), tuple(unknown))
    assert [path.name for path in commitments.iterdir()] == ["damaged.damaged"]
    assert not (folder / "work.db").exists()
    late = archive.receive(chest(delayed.study_instance_uid, PatientID="another"), SENDER)
    assert late.outcome == "held"
    assert archive.jobs.retry(dead.id) == 1
    until(lambda: len(peer.of("SR")) == 3)


@pytest.mark.parametrize("where", ["sqlite", "postgres"])
def test_priors_of_an_earlier_version_are_known(
    open_archive: OpenArchive, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if where == "postgres" else ""
    settings: dict[str, Any] = {"database_url": url, "node_name": "upgraded"} if url else {}
    archive = open_archive(tmp_path / "archive", **settings)
    fetched = Source(protocol="prior", prior_of=archive.rules.rules[0].name)
    work = archive.receive(chest(), SENDER)
    prior = archive.receive(chest(), fetched)
    archive.receive(chest(work.study_instance_uid), fetched)
    archive.close()
    run_script(
        tmp_path / "archive",
        url,
        "ALTER TABLE cxrserve_studies DROP COLUMN prior; UPDATE cxrserve_meta SET version = 6;",
    )
    archive = open_archive(tmp_path / "archive", **settings)
    listed = [(each.study_instance_uid, each.prior) for each in archive.worklist.studies()]
    assert listed == [(work.study_instance_uid, False), (prior.study_instance_uid, True)]
    archive.receive(chest(prior.study_instance_uid), SENDER)
    assert not any(each.prior for each in archive.worklist.studies()), "the modality has sent it"


def test_an_imported_commitment_is_reported(open_archive: OpenArchive, tmp_path: Path, pipeline: Any) -> None:
    archive = open_archive(tmp_path / "archive", rules={"quiet_time_s": 1000})
    receipt = archive.receive(chest(), SENDER)
    settings = archive._settings
    archive.close()
    folder = tmp_path / "archive" / "commitments"
    folder.mkdir()
    objects = [[receipt.sop_class_uid, receipt.sop_instance_uid], [receipt.sop_class_uid, "1.2.3"]]
    request = {"ae": "MODALITY", "host": "h", "port": 104, "transaction": "1.9", "objects": objects}
    (folder / "1.json").write_text(json.dumps(request))
    reporter = Reporter()
    with Archive.open(settings, pipeline, {}, reporter) as archive:
        until(lambda: reporter.reports)
        until(lambda: not archive.jobs.jobs())
    assert reporter.reports == [("1.9", {"1.2.3"})]


def test_rows_have_the_columns_of_their_tables() -> None:
    for table, row in (
        (STUDIES, StudyRow),
        (OBJECTS, ObjectRow),
        (JOBS, JobRow),
        (ARCHIVE_IDENTITY, IdentityRow),
    ):
        assert list(row._fields) == table.c.keys()
