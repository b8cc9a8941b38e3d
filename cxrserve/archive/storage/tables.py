"""Tables of the archive, a typed row for each, and the values that their states take.

The same tables on SQLite and PostgreSQL. A study's objects are numbered by `arrival`, in one series with its
corrections; its revisions and a job's tries are counted: none of that depends on a wall clock. Times of day
are there for people to read, and `due`, which says when a failed job is tried again; a clock that is set
makes a try early, never later than the longest pause.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Column, Float, Integer, MetaData, Table, Text

RevisionState = Literal["none", "waiting", "working", "done", "failed", "refused"]
ImageState = Literal["waiting", "done", "failed", "refused"]
JobKind = Literal["study", "delivery", "commitment", "reconciliation", "priors", "workitem"]
JobState = Literal["waiting", "done", "dead"]
_Blob = bytes  # a row has a field named bytes

TABLES: Final = MetaData()

META: Final = Table("cxrserve_meta", TABLES, Column("version", Integer, primary_key=True))
STUDIES: Final = Table(
    "cxrserve_studies",
    TABLES,
    Column("key", Text, primary_key=True),  # files.key_of(study_instance_uid)
    Column("study_instance_uid", Text, nullable=False, unique=True),
    Column("patient_name", Text, nullable=False),
    Column("patient_id", Text, nullable=False),  # of the first image that has one
    Column("patient_id_issuer", Text, nullable=False, server_default=""),  # likewise
    Column("study_date", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("search", Text, nullable=False, server_default=""),  # text_search.folded of the columns searched
    Column("changes", Integer, nullable=False),  # objects received and corrections; number of the last one
    Column("planned", Integer, nullable=False),  # objects that the newest revision covers
    Column("revision", Integer, nullable=False),  # number of the newest revision
    Column("state", Text, nullable=False),  # RevisionState, of the newest revision
    Column("stat", Integer, nullable=False),  # 1 where an object's rule says so
    Column("quiet_s", Float, nullable=False),
    Column("open", Integer, nullable=False, index=True),  # 1 while changes > planned
    Column("positive", Text),  # JSON list of findings, of the newest finished revision
    Column("received", Float, nullable=False),
    Column("changed", Float, nullable=False),
    # A correction of the patient or the order counts as a change, and is worked on like a new image.
    Column("corrected", Integer, nullable=False, server_default="0"),  # `changes` after the last one; 0: none
    Column("corrections", Integer, nullable=False, server_default="0"),  # their number
    # JSON list of patient ID, issuer, name and accession number before each correction
    Column("former", Text, nullable=False, server_default="[]"),
    # 1 while all its images were fetched as a prior of another study
    Column("prior", Integer, nullable=False, server_default="0"),
)
OBJECTS: Final = Table(
    "cxrserve_objects",
    TABLES,
    Column("sop_instance_uid", Text, primary_key=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("study_key", Text, sa.ForeignKey(STUDIES.c.key), nullable=False, index=True),
    Column("arrival", Integer, nullable=False),  # 1, 2, … within the study
    Column("sha256", Text, nullable=False),  # of the file
    Column("content_sha256", Text, nullable=False),  # of the data set: meta information depends on the sender
    Column("bytes", sa.BigInteger, nullable=False),
    Column("rule", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("calling_ae", Text, nullable=False),
    Column("view", Text, nullable=False),
    Column("header", sa.LargeBinary, nullable=False),  # cleaned: reports can be made without the file
    Column("tries", Integer, nullable=False),  # readings that began and did not end in order
    Column("rows", Integer),
    Column("columns", Integer),
    Column("state", Text, nullable=False),  # ImageState
    Column("problem", Text),  # JSON: slug, title, detail
    Column("expired", Integer, nullable=False),  # 1 once retention has deleted the file
    Column("received", Float, nullable=False),
    Column("results", Text, nullable=False, server_default=""),  # key of the folder of its results
    Column("replaces", Text, nullable=False, server_default=""),  # key of those before a correction; "": none
    Column("corrected", Integer, nullable=False, server_default="0"),  # number of its last correction
)
QUARANTINE: Final = Table(
    "cxrserve_quarantine",
    TABLES,
    Column("sha256", Text, primary_key=True),
    Column("sop_instance_uid", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("calling_ae", Text, nullable=False),
    Column("received", Float, nullable=False),
    Column("reason", Text, nullable=False, server_default="other-content"),  # receipt.Reason
    Column("study_key", Text, nullable=False, server_default="", index=True),
)
# What readers say about a study, as they said it: a row is never changed, and the newest of a finding counts.
LABELS: Final = Table(
    "cxrserve_labels",
    TABLES,
    Column("study_key", Text, sa.ForeignKey(STUDIES.c.key), primary_key=True),
    Column("number", Integer, primary_key=True),  # 1, 2, … within the study
    Column("finding", Text, nullable=False),
    Column("label", Text, nullable=False),  # labels.LabelValue
    Column("reader", Text, nullable=False),  # name of the client or user; "" where none is named
    Column("given", Float, nullable=False),
    # What the service said of the study at that moment; null and "" where it had no results yet
    Column("decision", Text),
    Column("probability", Float),
    Column("model", Text, nullable=False),  # name, version, SHA-256, and the site file's name and version
)
JOBS: Final = Table(
    "cxrserve_jobs",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # JobKind
    # null for a commitment and a workitem
    Column("study_key", Text, sa.ForeignKey(STUDIES.c.key), index=True),
    Column("revision", Integer, nullable=False),
    Column("covers", Integer, nullable=False),  # study: objects with this `arrival` and earlier
    # delivery: its name; commitment: the AE title; workitem: the worklist's name
    Column("destination", Text, nullable=False),
    # delivery: JSON list of paths below results/; commitment: the request, destination.CommitmentRequest;
    # workitem: workitems.Task
    Column("payload", Text, nullable=False),
    Column("stat", Integer, nullable=False),
    Column("state", Text, nullable=False, index=True),  # JobState
    Column("attempts", Integer, nullable=False),  # tries that have ended
    Column("claims", Integer, nullable=False),  # tries that have begun; the fencing token of the newest one
    Column("claimed_by", Text, nullable=False),  # node that is at work on it; "" where none is
    Column("due", Float, nullable=False),  # not before this time, in seconds since 1970
    Column("tried_s", Float, nullable=False),  # time spent trying, added up from pauses, not from clocks
    Column("problem", Text),  # JSON of the last failure: slug, title, detail, final
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
)
# The DICOM objects of each delivery, as the destination took them: a report may be there in another class.
DELIVERED: Final = Table(
    "cxrserve_delivered",
    TABLES,
    Column("job", Text, primary_key=True),  # JOBS.id
    Column("sop_instance_uid", Text, primary_key=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("series_instance_uid", Text, nullable=False),
)
NODES: Final = Table(
    "cxrserve_nodes",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("beat", Integer, nullable=False),  # grows while the node lives
)
ARCHIVE_IDENTITY: Final = Table(
    "cxrserve_home",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("identity", Text, nullable=False),  # content of the folder's identity.FILE
    Column(
        "folder", Text, nullable=False
    ),  # where it was when the two were first opened together, for people
)
COUNTER: Final = Table(
    "cxrserve_counter",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("value", Integer, nullable=False),
)


class StudyRow(NamedTuple):
    """One row of STUDIES."""

    key: str
    study_instance_uid: str
    patient_name: str
    patient_id: str
    patient_id_issuer: str
    study_date: str
    description: str
    modality: str
    accession_number: str
    search: str
    changes: int
    planned: int
    revision: int
    state: RevisionState
    stat: int
    quiet_s: float
    open: int
    positive: str | None
    received: float
    changed: float
    corrected: int
    corrections: int
    former: str
    prior: int


class ObjectRow(NamedTuple):
    """One row of OBJECTS."""

    sop_instance_uid: str
    sop_class_uid: str
    study_key: str
    arrival: int
    sha256: str
    content_sha256: str
    bytes: int
    rule: str
    protocol: str
    calling_ae: str
    view: str
    header: _Blob
    tries: int
    rows: int | None
    columns: int | None
    state: ImageState
    problem: str | None
    expired: int
    received: float
    results: str
    replaces: str
    corrected: int


class JobRow(NamedTuple):
    """One row of JOBS."""

    id: str
    kind: JobKind
    study_key: str | None
    revision: int
    covers: int
    destination: str
    payload: str
    stat: int
    state: JobState
    attempts: int
    claims: int
    claimed_by: str
    due: float
    tried_s: float
    problem: str | None
    created: float
    changed: float


class IdentityRow(NamedTuple):
    """One row of ARCHIVE_IDENTITY."""

    id: int
    identity: str
    folder: str
