"""The watch of one process: takes one observation a film, on a thread of its own, and writes every second."""

from __future__ import annotations

import hashlib
import logging
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from cxrserve.findings import NAMES
from cxrserve.metrics import Metrics
from cxrserve.watch.detectors import DAYS_TO_FALSE_ALARM
from cxrserve.watch.group import ALL, OTHER, DayCounts, Group, GroupName, Observation
from cxrserve.watch.reference import MIN_FILMS, GroupReference
from cxrserve.watch.report import (
    SHOWN_DAYS,
    GroupReport,
    ReferenceSource,
    WatchReport,
    change_of,
    group_report,
    log10,
    most_evident,
    place,
)
from cxrserve.watch.store import Store
from cxrserve.watch.streams import STREAMS, WEIGHTS_S, Stream, bins_of

_log: Final = logging.getLogger("cxrserve.watch")
MAX_GROUPS: Final = 32  # pairs of a station and a view; films of further ones count as `other`
WEIGHT_OF_ALL: Final = 0.6
WEIGHT_OF_GROUP: Final = (1 - WEIGHT_OF_ALL) / (MAX_GROUPS + 1)
_WRITE_EVERY_S: Final = 0.5
_MAX_QUEUED: Final = 10_000
_REST: Final = GroupName(OTHER, OTHER)


class Watch:
    """Watches the films of one service. `observe` may be called from many threads and never blocks.

    Args:
        path: the file; None keeps everything in memory.
        key: names the numbers that are compared (the bundle's SHA-256); under another one, the watch starts
            again, since other networks give other numbers.
        references: of the site file; a station and view without one takes its first `MIN_FILMS` films.
        site: name and version of the site file, for the report.
        today: the calendar.

    Raises on construction:
        ConfigurationError: the file cannot be used.
    """

    def __init__(
        self,
        path: Path | None,
        metrics: Metrics,
        *,
        key: str,
        references: Sequence[GroupReference] = (),
        site: str | None = None,
        today: Callable[[], date] = date.today,
    ) -> None:
        self._metrics: Final = metrics
        self._stored: Final = path is not None
        self._site: Final = site
        self._today: Final = today
        self._references: Final = {GroupName(item.station, item.view): item for item in references}
        parts = (key, *(item.model_dump_json() for item in references))
        self._key: Final = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        self._store: Final = Store(path)
        self._lock: Final = threading.Lock()
        self._groups: Final[dict[GroupName, Group]] = {}
        for name in self._store.names():
            saved = self._store.load(name, self._key)
            if saved is not None:
                self._group(name).restore(*saved)
        self._uncounted: Final[list[tuple[GroupName, Observation]]] = []
        self._changed: Final[set[GroupName]] = set()
        self._queue: Final[queue.Queue[Observation | threading.Event | None]] = queue.Queue(_MAX_QUEUED)
        self._gauges()
        self._thread: Final = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def observe(self, observation: Observation) -> None:
        """Take one film. Films that come faster than they are counted are left out, and logged."""
        try:
            self._queue.put_nowait(observation)
        except queue.Full:
            _log.warning("the watch did not count a film: %d wait", _MAX_QUEUED)

    def flush(self) -> None:
        """Return after everything that was observed before is written."""
        written = threading.Event()
        self._queue.put(written)
        written.wait()

    def close(self) -> None:
        """Write the rest and close the file. Idempotent."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            self._store.close()

    def report(self) -> WatchReport:
        """The state of the watch, in numbers and in words."""
        with self._lock:
            evidence = self._evidence()
            total = sum(evidence.values())
            alarm = total >= DAYS_TO_FALSE_ALARM
            days = {name: self._days(group, SHOWN_DAYS) for name, group in self._groups.items()}
            changes = (
                [
                    change_of(group, stream, self._days(group, None), evidence[group, stream])
                    for group, stream in most_evident(evidence)
                ]
                if alarm
                else []
            )
            groups = [
                group_report(group, self._source(group), days[name])
                for name, group in sorted(self._groups.items(), key=lambda item: (item[0] != ALL, item[0]))
            ]
        return WatchReport(
            alarm=alarm,
            evidence=log10(total),
            summary=_summary(alarm=alarm, groups=groups),
            stored=self._stored,
            site=self._site,
            changes=tuple(changes),
            groups=tuple(groups),
        )

    def _run(self) -> None:
        write_at = time.monotonic()
        waiting: list[threading.Event] = []
        while True:
            try:
                item = self._queue.get(timeout=_WRITE_EVERY_S)
            except queue.Empty:
                item = threading.Event()  # nothing came: time to write
            if isinstance(item, Observation):
                self._record(item)
            elif item is not None:
                waiting.append(item)
            if item is None or waiting or time.monotonic() >= write_at:
                self._write()
                write_at = time.monotonic() + _WRITE_EVERY_S
                for event in waiting:
                    event.set()
                waiting.clear()
            if item is None:
                return

    def _record(self, observation: Observation) -> None:
        day = self._today().toordinal()
        bins_S = bins_of(observation.values_S)
        named = GroupName(observation.station, observation.view)
        with self._lock:
            groups = [self._group(ALL), self._group(named if self._has_room(named) else _REST)]
        if any(0 < group.day < day for group in groups):
            self._write()  # the counts of the day before, for good
        with self._lock:
            for group in groups:
                group.record(observation, bins_S, day)
                self._changed.add(group.name)
        self._uncounted.append((groups[1].name, observation))

    def _has_room(self, name: GroupName) -> bool:
        return name in self._groups or len(self._groups.keys() - {ALL, _REST}) < MAX_GROUPS

    def _group(self, name: GroupName) -> Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self._references.get(name))
        return group

    def _write(self) -> None:
        with self._lock:
            groups = [self._groups[name] for name in self._changed]
            if not groups:
                return
            try:
                self._store.save(groups, self._key)
            except sqlite3.Error as error:
                _log.error("the watch's file was not written: %s", error)
                return
            self._changed.clear()
            self._gauges()
        self._count()

    def _count(self) -> None:
        """Bring the counters of the metrics up to date."""
        metrics = self._metrics
        for name, films in Counter(name for name, _ in self._uncounted).items():
            metrics.watch_films.labels(*name).inc(films)
        for station in {name.station for name, _ in self._uncounted}:
            films_here = [film for name, film in self._uncounted if name.station == station]
            expected_F = np.nansum([film.probabilities_F for film in films_here], axis=0)
            positives_F = np.sum([film.positive_F for film in films_here], axis=0)
            for index, finding in enumerate(NAMES):
                metrics.watch_expected.labels(station, finding).inc(float(expected_F[index]))
                metrics.watch_positives.labels(station, finding).inc(int(positives_F[index]))
        self._uncounted.clear()

    def _gauges(self) -> None:
        evidence = self._evidence()
        total = sum(evidence.values())
        self._metrics.watch_evidence.set(log10(total))
        self._metrics.watch_alarm.set(float(total >= DAYS_TO_FALSE_ALARM))
        for (group, stream), value in evidence.items():
            self._metrics.watch_stream_evidence.labels(*group.name, stream.name).set(log10(value))

    def _evidence(self) -> dict[tuple[Group, Stream], float]:
        """The share of each stream in the evidence of the service; their sum grows by at most 1 a day."""
        evidence: dict[tuple[Group, Stream], float] = {}
        for name, group in self._groups.items():
            if not group.judges:
                continue
            weights_S = (WEIGHT_OF_ALL if name == ALL else WEIGHT_OF_GROUP) * WEIGHTS_S
            shares = (weights_S * group.detectors.evidence_S).tolist()
            evidence.update({(group, stream): shares[row] for row, stream in enumerate(STREAMS)})
        return evidence

    def _days(self, group: Group, days: int | None) -> dict[int, DayCounts]:
        since = 0 if days is None else group.day - days
        return {**self._store.days(group.name, since), **({group.day: group.today} if group.day else {})}

    def _source(self, group: Group) -> ReferenceSource:
        if group.name in self._references:
            return "site"
        return "gathering" if group.reference is None else "first-films"


def _summary(*, alarm: bool, groups: Sequence[GroupReport]) -> str:
    watched = [group for group in groups if group.watched]
    if alarm:
        return "They differ from the reference more than chance explains. What changed, since when and where:"
    if not groups:
        return "No film has been seen yet."
    if not watched:
        most = max(group.reference_films for group in groups)
        return (
            f"No alarm is possible yet: a reference needs {MIN_FILMS} films, and the largest has {most}. "
            "The counts below are shown all the same."
        )
    rest = len(groups) - len(watched)
    text = f"No change against the reference, for the films {place(watched[0].station, watched[0].view)}"
    if len(watched) > 1:
        text += f" and {len(watched) - 1} single stations and views"
    return text + (f"; {rest} more have too few films yet." if rest else ".")
