"""Schema migrations: from the tables of each version to those of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.storage.tables import JOBS, STUDIES
from cxrserve.archive.storage.text_search import folded

SCHEMA_VERSION: Final = 7


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring tables of `version` to SCHEMA_VERSION, within the transaction of `connection`."""
    for reached in range(version + 1, SCHEMA_VERSION + 1):
        for step in _STEPS[reached]:
            connection.execute(sa.text(step)) if isinstance(step, str) else step(connection)


def _fill_search(connection: sa.Connection) -> None:
    study = STUDIES.c
    texts = (study.patient_name, study.patient_id, study.accession_number, study.description)
    studies = connection.execute(sa.select(study.key, *texts)).all()
    if studies:
        connection.execute(
            STUDIES.update().where(study.key == sa.bindparam("of")).values(search=sa.bindparam("folded")),
            [{"of": key, "folded": folded(*values)} for key, *values in studies],
        )


def _create_jobs(connection: sa.Connection) -> None:
    JOBS.create(connection)


# Jobs once had an engine of workflows below them, with a database of its own. `started` counted the tries
# that were handed to it; one that had not ended is free to be claimed now, and every waiting job is due.
_COPY_JOBS: Final = """
INSERT INTO cxrserve_jobs (id, kind, study_key, revision, covers, destination, payload, stat, state, attempts,
                           claims, claimed_by, due, tried_s, problem, created, changed)
SELECT id, kind, study_key, revision, covers, destination, files, stat, state, attempts,
       started, '', 0, tried_s, problem, created, changed FROM cxrserve_jobs_3
"""

_STEPS: Final[dict[int, tuple[str | Callable[[sa.Connection], None], ...]]] = {
    2: (
        "ALTER TABLE cxrserve_studies ADD COLUMN patient_id_issuer TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE cxrserve_quarantine ADD COLUMN reason TEXT DEFAULT 'other-content' NOT NULL",
    ),
    3: ("ALTER TABLE cxrserve_studies ADD COLUMN search TEXT DEFAULT '' NOT NULL", _fill_search),
    4: (  # study_key becomes nullable, which SQLite cannot do in place
        "ALTER TABLE cxrserve_jobs RENAME TO cxrserve_jobs_3",
        "DROP INDEX ix_cxrserve_jobs_study_key",
        "DROP INDEX ix_cxrserve_jobs_state",
        _create_jobs,
        _COPY_JOBS,
        "DROP TABLE cxrserve_jobs_3",
    ),
    5: (  # corrections of patient and order
        "ALTER TABLE cxrserve_studies ADD COLUMN corrected INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE cxrserve_studies ADD COLUMN corrections INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE cxrserve_studies ADD COLUMN former TEXT DEFAULT '[]' NOT NULL",
        "ALTER TABLE cxrserve_objects ADD COLUMN results TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE cxrserve_objects ADD COLUMN replaces TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE cxrserve_objects ADD COLUMN corrected INTEGER DEFAULT 0 NOT NULL",
        "UPDATE cxrserve_objects SET results = sha256",
        "ALTER TABLE cxrserve_quarantine ADD COLUMN study_key TEXT DEFAULT '' NOT NULL",
        "CREATE INDEX ix_cxrserve_quarantine_study_key ON cxrserve_quarantine (study_key)",
    ),
    6: (),  # jobs of the kind workitem, which earlier versions do not know, and a table that is new
    7: (
        "ALTER TABLE cxrserve_studies ADD COLUMN prior INTEGER DEFAULT 0 NOT NULL",
        "UPDATE cxrserve_studies SET prior = 1 WHERE key IN (SELECT study_key FROM cxrserve_objects) "
        "AND key NOT IN (SELECT study_key FROM cxrserve_objects WHERE protocol <> 'prior')",
    ),
}
