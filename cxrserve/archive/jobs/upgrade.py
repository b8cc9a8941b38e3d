"""Upgrade: takes over what earlier versions have left in the archive folder, beside the tables."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cxrserve.archive.destination import CommitmentRequest
from cxrserve.archive.jobs.queue import new_job
from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.tables import JOBS

_log: Final = logging.getLogger("cxrserve.archive")


def upgrade_folder(folder: Path, database: Database) -> None:
    """Import requests of Storage Commitment from their files; delete the database of the former job engine.

    That database (work.db) held copies of what the archive's own tables say.
    """
    _import_commitments(folder, database)
    for path in folder.glob("work.db*"):
        path.unlink(missing_ok=True)


def _import_commitments(folder: Path, database: Database) -> None:
    """Make a job of each request in `folder`/commitments, and delete its file once the job is committed.

    The id of the job is the name of the file, so several nodes may do it at once. A file that the disk has
    damaged is renamed to *.damaged.
    """
    for path in sorted(folder.glob("commitments/*.json")):
        try:
            values = json.loads(path.read_text())
            request = CommitmentRequest(
                ae_title=values["ae"],
                host=values["host"],
                port=values["port"],
                tls=values.get("tls"),
                transaction_uid=values["transaction"],
                objects=values["objects"],
            )
        except FileNotFoundError:  # another node was faster
            continue
        except (ValueError, KeyError, TypeError, ValidationError):
            _log.error("a storage commitment is damaged on disk; its file is now %s.damaged", path.stem)
            path.rename(path.with_suffix(".damaged"))
            continue
        job = new_job(
            id=path.stem,
            kind="commitment",
            destination=request.ae_title,
            payload=request.model_dump(mode="json"),
        )
        with database.writing() as connection:
            database.insert_new(connection, JOBS, **job)
            database.touch(connection)
        path.unlink(missing_ok=True)
