"""The state of the watch as numbers and in words: what changed, since when, where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Final, Literal

import numpy as np
from pydantic import Field

from cxrserve.findings import NAMES
from cxrserve.schema import Frozen
from cxrserve.watch.detectors import DAYS_TO_FALSE_ALARM, is_above
from cxrserve.watch.group import ALL, OTHER, DayCounts, Group
from cxrserve.watch.reference import MIN_FILMS
from cxrserve.watch.streams import INDEX, STREAMS, Kind, Stream

ReferenceSource = Literal["site", "first-films", "gathering"]
_MAX_CHANGES: Final = 8
_MIN_SHARE: Final = 0.02  # of all evidence, for a change to be named while an alarm is on
SHOWN_DAYS: Final = 30


class StreamReport(Frozen):
    """One stream of one station and view."""

    name: str
    label: str
    kind: Kind
    evidence: float = Field(description="Days to a false alarm that its evidence alone is worth, log10.")
    tenths: tuple[int, ...] = Field(
        description="Films of the last 30 days in each tenth of the reference; all alike if nothing changed."
    )


class FindingCount(Frozen):
    """Positives of one finding, and as many as the probabilities predict, over the last 30 days."""

    finding: str
    positives: int
    expected: float


class GroupReport(Frozen):
    """One station and view; "all" and "all" for every film."""

    station: str
    view: str
    films: int = Field(description="Films since the reference was given, or since its first film.")
    films_30_days: int
    refused_30_days: int
    reference: ReferenceSource
    reference_films: int
    watched: bool = Field(description="True if a change here can raise the alarm.")
    streams: tuple[StreamReport, ...]
    findings: tuple[FindingCount, ...]


class Change(Frozen):
    """One change, in words and as figures."""

    station: str
    view: str
    stream: str
    since: date
    evidence: float
    text: str


class WatchReport(Frozen):
    """The whole state. It holds no UID, no name and no value of a single film."""

    alarm: bool
    evidence: float = Field(description="log10 of the evidence over all streams and stations.")
    bound: float = Field(
        math.log10(DAYS_TO_FALSE_ALARM),
        description="The alarm is on at this value: at least a year to a false alarm, on average.",
    )
    summary: str
    stored: bool = Field(description="False where the watch is in memory alone: CXRSERVE_WATCH is not set.")
    films_needed: int = Field(MIN_FILMS, description="Films that a reference needs before it can alarm.")
    site: str | None = Field(None, description="Name and version of the site file.")
    changes: tuple[Change, ...]
    groups: tuple[GroupReport, ...]


def log10(value: float) -> float:
    """The decimal logarithm; of nothing, that of the smallest evidence that is shown."""
    return round(math.log10(max(value, 1e-3)), 3)


def place(station: str, view: str) -> str:
    """A station and a view in words, to follow "films"."""
    views = "" if view in (ALL.view, OTHER) else f" ({view})"
    if station == ALL.station:
        return f"of all stations{views}"
    return f"of {'stations without a name' if station == OTHER else station}{views}"


def change_of(group: Group, stream: Stream, days: Mapping[int, DayCounts], evidence: float) -> Change:
    """The change of one stream, with the share of films since then that shows it."""
    row = INDEX[stream.name]
    half_line, quiet = group.detectors.change(row)
    first = max(quiet + 1, min(days, default=group.day))
    since = date.fromordinal(min(first, group.day))
    tenths = np.sum([counts.tenths_ST[row] for day, counts in days.items() if day >= first], axis=0)
    more = is_above(half_line)
    films = max(int(np.sum(tenths)), 1)
    where = place(group.name.station, group.name.view)
    text = f"Since {since.day} {since:%B %Y}, films {where} are {stream.more if more else stream.less}"
    if stream.kind == "number" and np.ndim(tenths):
        side = tenths[8:] if more else tenths[:2]
        share = int(side.sum()) / films
        end = "highest" if more else "lowest"
        text += f" than those of the reference: {share:.0%} lie in its {end} fifth"
    else:
        text += " than in the reference"
    return Change(
        station=group.name.station,
        view=group.name.view,
        stream=stream.name,
        since=since,
        evidence=log10(evidence),
        text=text + ".",
    )


def group_report(group: Group, source: ReferenceSource, days: Mapping[int, DayCounts]) -> GroupReport:
    """One station and view, with the counts of the last days."""
    recent = [counts for day, counts in days.items() if day > group.day - SHOWN_DAYS]
    tenths_ST = np.sum([counts.tenths_ST for counts in recent], axis=0) if recent else DayCounts().tenths_ST
    positives_F = np.sum([counts.positives_F for counts in recent], axis=0)
    expected_F = np.sum([counts.expected_F for counts in recent], axis=0)
    known = (
        {stream.stream for stream in group.reference.streams} if group.reference is not None else set[str]()
    )
    evidence_S = group.detectors.evidence_S
    return GroupReport(
        station=group.name.station,
        view=group.name.view,
        films=group.films,
        films_30_days=sum(counts.films for counts in recent),
        refused_30_days=sum(counts.refused for counts in recent),
        reference=source,
        reference_films=group.reference.films if group.reference is not None else group.films,
        watched=group.judges,
        streams=tuple(
            StreamReport(
                name=stream.name,
                label=stream.label,
                kind=stream.kind,
                evidence=log10(float(evidence_S[row])),
                tenths=tuple(tenths_ST[row].tolist()),
            )
            for row, stream in enumerate(STREAMS)
            if stream.name in known
        ),
        findings=tuple(
            FindingCount(finding=name, positives=int(positives), expected=round(float(expected), 1))
            for name, positives, expected in zip(NAMES, positives_F, expected_F, strict=True)
        )
        if recent
        else (),
    )


def most_evident(evidence: Mapping[tuple[Group, Stream], float]) -> list[tuple[Group, Stream]]:
    """The streams that the evidence comes from, the strongest first."""
    total = sum(evidence.values())
    ordered = sorted(evidence, key=lambda key: -evidence[key])
    return [key for key in ordered if evidence[key] >= _MIN_SHARE * total][:_MAX_CHANGES]
