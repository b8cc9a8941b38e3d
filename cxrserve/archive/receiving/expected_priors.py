"""Images that a PACS was asked to send here as priors: they come to the node's port like any others.

A prior job writes their UIDs into its row before it asks, so every node of the archive knows them, also after
a restart; and each arrival is noted there, as a PACS may say that it has sent an image before it sends it.
What comes after the job has ended is an ordinary image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from cxrserve.archive.storage.tables import JOBS


def rule_of(payload: str) -> str:
    """The name of the rule that asks, from the payload of a prior job."""
    return _read(payload)[0]


def expect(connection: sa.Connection, which: sa.ColumnElement[bool], uids: Iterable[str]) -> None:
    """Write SOP Instance UIDs into the row of a prior job, as not arrived yet."""
    payload = connection.execute(sa.select(JOBS.c.payload).where(which).with_for_update()).scalar()
    if payload is not None:
        rule, expected = _read(payload)
        _write(connection, which, rule, dict.fromkeys(uids, False) | expected)


def has_arrived(connection: sa.Connection, which: sa.ColumnElement[bool], sop_instance_uid: str) -> bool:
    """True where an image that the job expects was taken in, or ignored because it does not fit its rule."""
    payload = connection.execute(sa.select(JOBS.c.payload).where(which)).scalar()
    return payload is not None and _read(payload)[1].get(sop_instance_uid, False)


def rule_expecting(connection: sa.Connection, sop_instance_uid: str) -> str | None:
    """The name of the rule for which this image was asked; None where it was not."""
    for _, payload in _jobs_with(connection, sop_instance_uid):
        return rule_of(payload)
    return None


def note_arrival(connection: sa.Connection, sop_instance_uid: str) -> None:
    """Note in every job that expects this image that it has arrived."""
    for job, payload in _jobs_with(connection, sop_instance_uid, lock=True):
        rule, expected = _read(payload)
        _write(connection, JOBS.c.id == job, rule, expected | {sop_instance_uid: True})


def _jobs_with(
    connection: sa.Connection, sop_instance_uid: str, *, lock: bool = False
) -> list[tuple[str, str]]:
    """Id and payload of the waiting prior jobs that expect this image."""
    query = sa.select(JOBS.c.id, JOBS.c.payload).where(
        JOBS.c.kind == "priors",
        JOBS.c.state == "waiting",
        JOBS.c.payload.contains(f'"{sop_instance_uid}"', autoescape=True),
    )
    rows = connection.execute(query.with_for_update() if lock else query).all()
    return [(row.id, row.payload) for row in rows if sop_instance_uid in _read(row.payload)[1]]


def _read(payload: str) -> tuple[str, dict[str, bool]]:
    """Rule, and UIDs with whether they have arrived; a job that has not asked yet names the rule alone."""
    content = json.loads(payload)
    return (content, {}) if isinstance(content, str) else (content["rule"], content["expected"])


def _write(
    connection: sa.Connection, which: sa.ColumnElement[bool], rule: str, expected: dict[str, bool]
) -> None:
    payload = json.dumps({"rule": rule, "expected": expected})
    connection.execute(JOBS.update().where(which).values(payload=payload))
