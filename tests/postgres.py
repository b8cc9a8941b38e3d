"""A real PostgreSQL: a private cluster of Debian's on a free port of the loopback, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.orthanc import free_port

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def postgres() -> Iterator[str]:
    """Run a cluster while the block lasts; the URL of its database, which is empty."""
    if not _PROGRAMS:
        pytest.skip("postgresql is not installed; see tests/debian-packages.txt")
    programs = _PROGRAMS[-1]
    folder = Path(tempfile.mkdtemp(prefix="cxrserve-postgres-"))
    port = free_port()
    try:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
        _run(programs / "initdb", "-D", folder / "data", "-U", "tests", "-A", "trust", "--no-instructions")
        _start(folder, port)
        try:
            yield f"postgresql://tests@127.0.0.1:{port}/postgres"
        finally:
            _stop(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def crashed(url: str) -> Iterator[None]:
    """The cluster of `postgres` is gone while the block lasts, without a farewell; then it is back."""
    with psycopg.connect(url) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        port = connection.info.port
    _stop(Path(data).parent)
    try:
        yield
    finally:
        _start(Path(data).parent, port)


def _start(folder: Path, port: int) -> None:
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = ("-D", folder / "data", "-w", "-l", folder / "log", "-o", options)
    _run(_PROGRAMS[-1] / "pg_ctl", *control, "start")


def _stop(folder: Path) -> None:
    _run(_PROGRAMS[-1] / "pg_ctl", "-D", folder / "data", "-w", "-m", "immediate", "stop")


def fresh_database(url: str) -> str:
    """A database of its own in the cluster of `url`, for one archive; its URL."""
    name = f"archive_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{url.rpartition('/')[0]}/{name}"


def dump(url: str, path: Path) -> None:
    """Write all tables of a database to `path`, as SQL."""
    with path.open("wb") as file:
        subprocess.run([_PROGRAMS[-1] / "pg_dump", url], stdout=file, check=True)


def restore(url: str, path: Path) -> None:
    """Run the SQL that `dump` wrote in an empty database."""
    command = [str(_PROGRAMS[-1] / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", "--file", str(path), url]
    subprocess.run(command, check=True, capture_output=True)


def _run(program: Path, *arguments: str | Path) -> None:
    command = [str(program), *map(str, arguments)]
    if os.getuid() == 0:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
    # Its server inherits the streams, so a pipe would never end; the log file says what went wrong.
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}"
