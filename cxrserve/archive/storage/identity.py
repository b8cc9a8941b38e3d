"""Archive identity: ties a shared database to its archive folder.

Rows name objects by their hash, and the files lie in a folder: a node with the shared database and another
folder (a mount that is missing, a path of its own machine) would fail every job it takes. So the folder bears
an identity, the database knows it, and whoever opens the two compares them before anything else.
"""

from __future__ import annotations

import socket
import uuid
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from cxrserve.archive.storage.database import Database
from cxrserve.archive.storage.tables import ARCHIVE_IDENTITY, OBJECTS, IdentityRow
from cxrserve.errors import ConfigurationError
from cxrserve.files import write_atomically

FILE: Final = "archive-id"


def check_archive_identity(folder: Path, database: Database) -> None:
    """Pass where `database` belongs to `folder`; a new or older archive gets its identity here.

    An archive that neither side has marked yet is adopted, unless it is plain that the folder is another one:
    the database names objects, and the folder has none.

    Raises:
        ConfigurationError: the database belongs to another folder, or the folder cannot be used.
    """
    path = folder.resolve() / FILE
    try:
        with database.writing() as connection:
            database.lock(connection)  # of several nodes at their first start, one writes it
            row = connection.execute(sa.select(ARCHIVE_IDENTITY)).first()
            known = None if row is None else IdentityRow._make(row)
            stored = path.read_text("ascii").strip() if path.exists() else ""
            if known is None:
                if not stored and _holds_rows(connection) and not _holds_files(folder):
                    raise ConfigurationError(_EMPTY.format(folder=folder, path=path))
                identity = stored or _written(path)
                connection.execute(
                    ARCHIVE_IDENTITY.insert().values(id=1, identity=identity, folder=_place(folder))
                )
            elif stored != known.identity:
                raise ConfigurationError(_refusal(folder, path, stored, known))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} cannot be used: {getattr(error, 'strerror', None) or 'it is no text'}. It must be "
            "readable, in a folder that can be written."
        ) from error


_EMPTY: Final = (
    "the database names objects, and the archive folder {folder} holds none. Give the folder they lie in, "
    "mounted (CXRSERVE_ARCHIVE). If they are lost for good, write a new UUID into {path} and start again."
)


def _refusal(folder: Path, path: Path, stored: str, known: IdentityRow) -> str:
    state = "is that of another archive" if stored else f"bears no identity ({FILE})"
    return (
        f"the database belongs to the archive folder {known.folder}, and {folder} {state}. All nodes of one "
        "database share one folder: mount that one here (CXRSERVE_ARCHIVE), or give this node a database of "
        f"its own (CXRSERVE_DATABASE_URL). If this is the same folder, restored without its identity, write "
        f"{known.identity} into {path}."
    )


def _holds_rows(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(OBJECTS.c.sha256).where(OBJECTS.c.expired == 0)).first() is not None


def _holds_files(folder: Path) -> bool:
    return next(folder.glob("objects/*/*.dcm"), None) is not None


def _written(path: Path) -> str:
    """A new identity, on disk before any database knows it."""
    identity = str(uuid.uuid4())
    write_atomically(path, f"{identity}\n", mode=0o600)
    return identity


def _place(folder: Path) -> str:
    """The folder's path and host, for people: another machine may mount it elsewhere."""
    return f"{folder.resolve()} on {socket.gethostname()}"
