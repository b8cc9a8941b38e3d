"""The index: which objects there are, what became of them, and what is still to be done.

The same tables on SQLite and PostgreSQL. Nothing is ordered by a wall clock: a study's objects are counted
by `arrival`, its revisions by number, tries by attempt; times of day stand there for people to read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Column, Float, Integer, MetaData, Table, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cxrserve.archive.search import folded
from cxrserve.errors import ConfigurationError, OutOfResources

SCHEMA_VERSION: Final = 3
_tables: Final = MetaData()

META: Final = Table("cxrserve_meta", _tables, Column("version", Integer, primary_key=True))
STUDIES: Final = Table(
    "cxrserve_studies",
    _tables,
    Column("key", Text, primary_key=True),  # store.key_of(study_instance_uid)
    Column("study_instance_uid", Text, nullable=False, unique=True),
    Column("patient_name", Text, nullable=False),
    Column("patient_id", Text, nullable=False),  # of the first image that has one
    Column("patient_id_issuer", Text, nullable=False, server_default=""),  # likewise
    Column("study_date", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("modality", Text, nullable=False),
    Column("accession_number", Text, nullable=False),
    Column("search", Text, nullable=False, server_default=""),  # what of these is searched: search.folded
    Column("changes", Integer, nullable=False),  # objects that have arrived; the last one's `arrival`
    Column("planned", Integer, nullable=False),  # objects that the newest revision covers
    Column("revision", Integer, nullable=False),  # its number
    Column("state", Text, nullable=False),  # of the newest revision: none waiting working done failed refused
    Column("stat", Integer, nullable=False),  # 1 where an object's rule says so
    Column("quiet_s", Float, nullable=False),
    Column("open", Integer, nullable=False, index=True),  # 1 while changes > planned
    Column("positive", Text),  # JSON list of findings, of the newest finished revision
    Column("received", Float, nullable=False),
    Column("changed", Float, nullable=False),
)
OBJECTS: Final = Table(
    "cxrserve_objects",
    _tables,
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
    Column("tries", Integer, nullable=False),  # readings that were begun and did not end in order
    Column("rows", Integer),
    Column("columns", Integer),
    Column("state", Text, nullable=False),  # waiting done refused failed
    Column("problem", Text),  # JSON: slug, title, detail
    Column("expired", Integer, nullable=False),  # 1 once the file was deleted by retention
    Column("received", Float, nullable=False),
)
QUARANTINE: Final = Table(
    "cxrserve_quarantine",
    _tables,
    Column("sha256", Text, primary_key=True),
    Column("sop_instance_uid", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("calling_ae", Text, nullable=False),
    Column("received", Float, nullable=False),
    Column("reason", Text, nullable=False, server_default="other-content"),  # receipt.Reason
)
JOBS: Final = Table(
    "cxrserve_jobs",
    _tables,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # study, delivery
    Column("study_key", Text, sa.ForeignKey(STUDIES.c.key), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("covers", Integer, nullable=False),  # of a study: objects with this `arrival` and earlier
    Column("destination", Text, nullable=False),  # of a delivery
    Column("files", Text, nullable=False),  # of a delivery: JSON list of paths below results/
    Column("stat", Integer, nullable=False),
    Column("state", Text, nullable=False, index=True),  # waiting done dead
    Column("attempts", Integer, nullable=False),  # tries that have ended
    Column(
        "started", Integer, nullable=False
    ),  # tries that were handed to the engine: 0 ≤ started - attempts ≤ 1
    Column("tried_s", Float, nullable=False),  # time spent trying, added up from pauses, not from clocks
    Column("problem", Text),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
)
NODES: Final = Table(
    "cxrserve_nodes",
    _tables,
    Column("name", Text, primary_key=True),
    Column("beat", Integer, nullable=False),  # grows while the node lives
)
HOME: Final = Table(
    "cxrserve_home",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("identity", Text, nullable=False),  # what stands in the folder's home.FILE
    Column("folder", Text, nullable=False),  # where it was when they were brought together, for people
)
COUNTER: Final = Table(
    "cxrserve_counter",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("value", Integer, nullable=False),
)


def _fill_search(connection: sa.Connection) -> None:
    study = STUDIES.c
    texts = (study.patient_name, study.patient_id, study.accession_number, study.description)
    found = connection.execute(sa.select(study.key, *texts)).all()
    if found:
        connection.execute(
            STUDIES.update().where(study.key == sa.bindparam("of")).values(search=sa.bindparam("folded")),
            [{"of": key, "folded": folded(*words)} for key, *words in found],
        )


# What turns the tables of one version into the next: {version reached: statements, and what SQL cannot do}.
_MIGRATIONS: Final[dict[int, tuple[str | Callable[[sa.Connection], None], ...]]] = {
    2: (
        "ALTER TABLE cxrserve_studies ADD COLUMN patient_id_issuer TEXT DEFAULT '' NOT NULL",
        "ALTER TABLE cxrserve_quarantine ADD COLUMN reason TEXT DEFAULT 'other-content' NOT NULL",
    ),
    3: ("ALTER TABLE cxrserve_studies ADD COLUMN search TEXT DEFAULT '' NOT NULL", _fill_search),
}


def sqlalchemy_url(database_url: str, sqlite_file: Path) -> sa.URL:
    """The URL as SQLAlchemy wants it; SQLite in `sqlite_file` where none is given.

    Raises:
        ConfigurationError: a URL of another database; the URL itself is not repeated, it holds a password.
    """
    if not database_url:
        return sa.URL.create("sqlite", database=str(sqlite_file))
    try:
        url = sa.make_url(database_url)
    except sa.exc.ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        raise ConfigurationError(
            "CXRSERVE_DATABASE_URL is no PostgreSQL URL; postgresql://user:password@host/name was expected."
        )
    return url.set(drivername="postgresql+psycopg")


class Index:
    """Connections to the tables, which are made or brought up to date. Thread-safe.

    Args:
        timeout_s: time to wait for a locked or silent database.

    Raises:
        ConfigurationError: the database cannot be used, or a newer version of cxrserve has made its tables.
    """

    def __init__(self, url: sa.URL, *, timeout_s: float) -> None:
        self._on_sqlite: Final = url.get_backend_name() == "sqlite"
        self._engine: Final = _engine(url, timeout_s, self._on_sqlite)
        self._insert: Callable[[Table], Any] = sqlite.insert if self._on_sqlite else postgresql.insert
        try:
            if self._on_sqlite:
                _prepare_sqlite(str(url.database), timeout_s)
            self._migrate()
        except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
            self._engine.dispose()
            raise ConfigurationError(
                f"the database cannot be used ({type(error).__name__}). Check CXRSERVE_DATABASE_URL, and "
                "that the database is there and not locked."
            ) from error

    def _migrate(self) -> None:
        with self.writing() as connection:
            self.lock(connection)
            _tables.create_all(connection)
            found = connection.execute(sa.select(META.c.version)).scalar()
            if found is None:
                connection.execute(META.insert().values(version=SCHEMA_VERSION))
                connection.execute(COUNTER.insert().values(id=1, value=0))
                return
            if found > SCHEMA_VERSION:
                raise ConfigurationError(
                    f"the archive's tables are of version {found}, and this cxrserve knows {SCHEMA_VERSION}. "
                    "Use the newer cxrserve that has made them."
                )
            for version in range(found + 1, SCHEMA_VERSION + 1):
                for step in _MIGRATIONS[version]:
                    connection.execute(sa.text(step)) if isinstance(step, str) else step(connection)
            connection.execute(META.update().values(version=SCHEMA_VERSION))

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction, committed (and on disk) when the block ends without an error."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for queries."""
        with self._engine.connect().execution_options(reading=True) as connection:
            yield connection

    def lock(self, connection: sa.Connection) -> None:
        """Keep other nodes that start at the same moment waiting until this transaction ends."""
        if not self._on_sqlite:  # where `writing` does it
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(723041)"))

    def insert_new(self, connection: sa.Connection, table: Table, **values: object) -> bool:
        """Insert a row unless its key is there; True where it was new."""
        done = connection.execute(self._insert(table).values(**values).on_conflict_do_nothing())
        return bool(done.rowcount == 1)

    def touch(self, connection: sa.Connection) -> int:
        """The next value of the change counter. Taken last in a transaction: others wait for its end."""
        value = connection.execute(
            COUNTER.update()
            .where(COUNTER.c.id == 1)
            .values(value=COUNTER.c.value + 1)
            .returning(COUNTER.c.value)
        ).scalar_one()
        return int(value)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


@contextmanager
def answering() -> Iterator[None]:
    """Errors of a database that is locked, gone or full become OutOfResources.

    Raises:
        OutOfResources: nothing of the transaction inside was committed, as far as is known.
    """
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        raise OutOfResources(
            f"the archive's database did not answer ({type(error).__name__}); nothing was kept. Try again "
            "later, and have the database looked at.",
            retry_after_s=30,
        ) from error


def _engine(url: sa.URL, timeout_s: float, on_sqlite: bool) -> sa.Engine:
    if not on_sqlite:
        # keepalives: a database that is cut off is noticed; the lock limit bounds what an object waits.
        options = f"-c lock_timeout={int(timeout_s * 1000)} -c statement_timeout={int(timeout_s * 1000)}"
        connect = {"connect_timeout": max(2, round(timeout_s)), "options": options}
        return sa.create_engine(url, connect_args=connect, pool_pre_ping=True, pool_timeout=timeout_s)
    engine = sa.create_engine(
        url,
        connect_args={"timeout": timeout_s, "check_same_thread": False, "isolation_level": None},
        poolclass=sa.pool.QueuePool,
        pool_size=8,
        pool_timeout=timeout_s,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")  # a commit is on disk when it returns
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # The write lock is taken at once where it will be needed: no transaction fails half way for it.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _prepare_sqlite(path: str, timeout_s: float) -> None:
    """Make the file where there is none, readable while it is written: the mode stays with the file."""
    connection = sqlite3.connect(path, timeout=timeout_s)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
