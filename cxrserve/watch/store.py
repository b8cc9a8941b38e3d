"""The watch's file: SQLite with counts, histograms of ten and states of detectors, for two years."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cxrserve.errors import ConfigurationError
from cxrserve.watch.group import DayCounts, Group, GroupName

KEPT_DAYS: Final = 731
_FORMAT: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS states (
    station TEXT NOT NULL, view TEXT NOT NULL, reference TEXT NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (station, view)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS days (
    day INTEGER NOT NULL, station TEXT NOT NULL, view TEXT NOT NULL, counts BLOB NOT NULL,
    PRIMARY KEY (day, station, view)
) WITHOUT ROWID;
"""


class Store:
    """One file, used by one process. Without a path, everything is kept in memory.

    Raises on construction:
        ConfigurationError: the file cannot be written, another process uses it, or it is of another format.
    """

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database: Final = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False, timeout=1.0
            )
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from None
        try:
            self._prepare(path)
        except sqlite3.Error as error:
            self.close()
            raise _unusable(path, error) from None
        except BaseException:
            self.close()
            raise
        if path is not None:
            path.chmod(0o600)

    def _prepare(self, path: Path | None) -> None:
        execute = self._database.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("BEGIN EXCLUSIVE")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise ConfigurationError(
                f"the watch's file {path} has the format {version}; this program reads {_FORMAT}. Move it "
                "away: the watch then starts again."
            )
        execute(f"PRAGMA user_version = {_FORMAT}")
        for statement in _TABLES.split(";"):
            execute(statement)
        execute("COMMIT")

    def load(self, name: GroupName, reference: str) -> tuple[bytes, DayCounts | None] | None:
        """The state of a group and its last day's counts; None if it was made with another reference."""
        row = self._database.execute(
            "SELECT state FROM states WHERE station = ? AND view = ? AND reference = ?", (*name, reference)
        ).fetchone()
        if row is None:
            return None
        last = self._database.execute(
            "SELECT counts FROM days WHERE station = ? AND view = ? ORDER BY day DESC LIMIT 1", name
        ).fetchone()
        return row[0], DayCounts.unpacked(last[0]) if last is not None else None

    def names(self) -> list[GroupName]:
        """All groups that have a state."""
        return [
            GroupName(*row)
            for row in self._database.execute("SELECT station, view FROM states ORDER BY station, view")
        ]

    def save(self, groups: Iterable[Group], reference: str) -> None:
        """Write the states and the last day's counts of `groups`, all or nothing; old days are deleted."""
        execute = self._database.execute
        execute("BEGIN IMMEDIATE")
        try:
            for group in groups:
                execute(
                    "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)",
                    (*group.name, reference, group.packed()),
                )
                execute(
                    "INSERT OR REPLACE INTO days VALUES (?, ?, ?, ?)",
                    (group.day, *group.name, group.today.packed()),
                )
                execute("DELETE FROM days WHERE day < ?", (group.day - KEPT_DAYS,))
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise

    def days(self, name: GroupName, since: int) -> dict[int, DayCounts]:
        """The counts of a group by the ordinal of the day, from the day `since` on."""
        rows = self._database.execute(
            "SELECT day, counts FROM days WHERE station = ? AND view = ? AND day >= ? ORDER BY day",
            (*name, since),
        )
        return {day: DayCounts.unpacked(counts) for day, counts in rows}

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _unusable(path: Path | None, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the watch cannot use the file {path} (CXRSERVE_WATCH): {error}. One process at a time may use it; "
        "several nodes need CXRSERVE_NODE_NAME."
    )
