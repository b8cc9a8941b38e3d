"""Connections to the archive's database, SQLite or PostgreSQL; its tables are in `tables.py`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from cxrserve.archive.storage.migrations import SCHEMA_VERSION, migrate
from cxrserve.archive.storage.tables import COUNTER, META, TABLES
from cxrserve.errors import ConfigurationError, OutOfResources


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


class Database:
    """Connections to the tables, which are created or migrated on construction. Thread-safe.

    Args:
        timeout_s: time to wait for a locked or silent database.

    Raises:
        ConfigurationError: the database cannot be used, or a newer version of cxrserve has made its tables.

    Attributes:
        shared: True on PostgreSQL, which several nodes may use at once.
        now: the time at which an object is received, in seconds since 1970.
    """

    def __init__(self, url: sa.URL, *, timeout_s: float) -> None:
        self.now: Callable[[], float] = time.time
        self.shared: Final = url.get_backend_name() != "sqlite"
        self._engine: Final = _engine(url, timeout_s, self.shared)
        self._insert: Callable[[Table], Any] = postgresql.insert if self.shared else sqlite.insert
        try:
            if not self.shared:
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
            TABLES.create_all(connection)
            version = connection.execute(sa.select(META.c.version)).scalar()
            if version is None:
                connection.execute(META.insert().values(version=SCHEMA_VERSION))
                connection.execute(COUNTER.insert().values(id=1, value=0))
                return
            if version > SCHEMA_VERSION:
                raise ConfigurationError(
                    f"the archive's tables have version {version}; this cxrserve knows {SCHEMA_VERSION}. "
                    "Use the newer cxrserve that created them."
                )
            migrate(connection, version)
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
        if self.shared:  # on SQLite `writing` does it
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(723041)"))

    def insert_new(self, connection: sa.Connection, table: Table, **values: object) -> bool:
        """Insert a row unless its key is there; True where it was new."""
        # Not by `rowcount`, which is not 1 on PostgreSQL even where the row is new.
        new = self._insert(table).values(**values).on_conflict_do_nothing().returning(sa.literal(1))
        return connection.execute(new).first() is not None

    def touch(self, connection: sa.Connection) -> int:
        """Increment the change counter, last in a transaction: others wait for its end. Its new value."""
        value = connection.execute(
            COUNTER.update()
            .where(COUNTER.c.id == 1)
            .values(value=COUNTER.c.value + 1)
            .returning(COUNTER.c.value)
        ).scalar_one()
        return int(value)

    def changes(self) -> int:
        """The value of the change counter: it differs after every transaction that called `touch`."""
        with self.reading() as connection:
            return int(connection.execute(sa.select(COUNTER.c.value)).scalar_one())

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
            f"the archive's database did not answer ({type(error).__name__}); nothing was stored. Try again "
            "later, and check the database.",
            retry_after_s=30,
        ) from error


def _engine(url: sa.URL, timeout_s: float, shared: bool) -> sa.Engine:
    if shared:
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
    """Create the file where there is none, in WAL mode, which stays with it: it can be read while written."""
    connection = sqlite3.connect(path, timeout=timeout_s)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
