"""Images that a PACS was asked to send here as priors: they come to the node's port like any others.

A prior job writes their UIDs into its row before it asks, so every node of the archive knows them, also after
a restart. What a PACS sends later than the job has ended is an ordinary image.
"""

from __future__ import annotations

import json

import sqlalchemy as sa

from cxrserve.archive.storage.tables import JOBS


def payload_of(rule: str, expected: list[str]) -> str:
    """The payload of a prior job: the name of the rule that asks, and SOP Instance UIDs."""
    return json.dumps({"rule": rule, "expected": expected})


def read_payload(payload: str) -> tuple[str, list[str]]:
    """Rule and UIDs of `payload_of`; a job that has not asked yet names the rule alone."""
    content = json.loads(payload)
    return (content, []) if isinstance(content, str) else (content["rule"], content["expected"])


def rule_expecting(connection: sa.Connection, sop_instance_uid: str) -> str | None:
    """The name of the rule for which this image was asked; None where it was not."""
    query = sa.select(JOBS.c.payload).where(
        JOBS.c.kind == "priors",
        JOBS.c.state == "waiting",
        JOBS.c.payload.contains(f'"{sop_instance_uid}"', autoescape=True),
    )
    for payload in connection.execute(query).scalars():
        rule, expected = read_payload(payload)
        if sop_instance_uid in expected:
            return rule
    return None
