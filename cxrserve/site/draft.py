"""A site file from films and labels: calibration, operating points, and the reference of the watch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np

from cxrserve.bundle.adopted_site import Outcome
from cxrserve.bundle.calibration import Calibration, logit
from cxrserve.bundle.contract import Contract
from cxrserve.bundle.operating_point import DecisionPair, OperatingPoint, Target
from cxrserve.bundle.triage_calibration import Arithmetic
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES
from cxrserve.site.file import Site, moved_point, with_pair
from cxrserve.site.films import Films
from cxrserve.site.fitting import fit_finding
from cxrserve.site.pairs import PairWish, pair_for
from cxrserve.site.points import point_for
from cxrserve.watch.group import ALL, GroupName
from cxrserve.watch.reference import MIN_FILMS, GroupReference
from cxrserve.watch.streams import BINS, STREAMS, bins_of

_MIN_GROUP: Final = 50  # films of a station and view; fewer get no reference of their own


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The choices of the person who makes the site file.

    Attributes:
        targets: by finding, for its operating point.
        pairs: by finding, for rule-out and rule-in.
        prevalences: by finding; its intercept is shifted to that prevalence, and nothing is fitted.
        stations: names of stations, and the AE titles and clients that are theirs.
        previous: the version before and the SHA-256 of its file.
    """

    name: str
    note: str = ""
    targets: Mapping[str, Target] = field(default_factory=dict)
    pairs: Mapping[str, PairWish] = field(default_factory=dict)
    prevalences: Mapping[str, float] = field(default_factory=dict)
    stations: Mapping[str, Sequence[str]] = field(default_factory=dict)
    previous: tuple[Site, str] | None = None


def draft(
    films: Films, contract: Contract, bundle_sha256: str, arithmetic: Arithmetic, wishes: Wishes
) -> tuple[Site, list[str]]:
    """The site file, and notes for the person who makes it.

    Raises:
        RequestError: a target that the labelled films cannot show, or a prevalence that cannot be set.
    """
    calibrations: dict[str, Calibration] = {}
    points: dict[str, OperatingPoint] = {}
    outcomes: list[Outcome] = []
    notes: list[str] = []
    today = date.today().isoformat()
    for name in NAMES:
        if name in contract.unavailable:
            continue
        labels_N = films.labels_NF[:, INDEX[name]]
        before = contract.calibration_of(name)
        after: Calibration | None = None
        if name in wishes.prevalences:
            after = shifted(before, name, wishes.prevalences[name])
            outcomes.append(_given(name, wishes.prevalences[name]))
        elif not np.isnan(labels_N).all():
            data = f"films of {wishes.name}, {today}"
            after, outcome = fit_finding(
                name, films.scores_NF[:, INDEX[name]], labels_N, films.patients, before, data
            )
            outcomes.append(outcome)
        if after is not None:
            calibrations[name] = after
            if name in contract.operating_points:
                points[name] = moved_point(contract.operating_points[name], before, after)
        if name in wishes.targets:
            points[name] = _point(films, name, after or before, wishes.targets[name], wishes.name)
        if name in wishes.pairs:
            point = points.get(name) or contract.operating_points[name]
            pair = _pair(films, name, before, wishes.pairs[name], wishes.name)
            points[name] = with_pair(point, pair, before, after or before)
    references = watch_references(films)
    if not references or references[0].films < MIN_FILMS:
        notes.append(
            f"the watch's reference has {references[0].films if references else 0} films; with fewer than "
            f"{MIN_FILMS} it raises no alarm"
        )
    previous = wishes.previous
    return (
        Site(
            name=wishes.name,
            version=1 if previous is None else previous[0].version + 1,
            created=today,
            note=wishes.note,
            bundle_sha256=bundle_sha256,
            arithmetic=arithmetic,
            previous=None if previous is None else previous[1],
            calibration=calibrations,
            operating_points=points,
            watch=references,
            stations={name: tuple(senders) for name, senders in wishes.stations.items()},
            evidence=tuple(outcomes),
        ),
        notes,
    )


def shifted(before: Calibration, finding: str, prevalence: float) -> Calibration:
    """The calibration with its intercept shifted from the prevalence of its data to another.

    Raises:
        RequestError: the bundle does not say the prevalence of its data.
    """
    if not before.events or not before.non_events:
        raise RequestError(
            f"--prevalence {finding}={prevalence:g}: the bundle does not say in how many films of its "
            "calibration the finding was present. Give labels instead."
        )
    if not 0 < prevalence < 1:
        raise RequestError(f"--prevalence {finding}={prevalence:g}: a prevalence lies between 0 and 1")
    old = before.events / (before.events + before.non_events)
    moved = before.followed_by(
        1.0,
        float(logit(np.array(prevalence)) - logit(np.array(old))),
        f"{before.data}; intercept shifted from a prevalence of {old:.4f} to {prevalence:g}",
    )
    return moved.model_copy(update={"events": before.events, "non_events": before.non_events})


def _given(finding: str, prevalence: float) -> Outcome:
    return Outcome(
        finding=finding,
        adopted=True,
        why=f"intercept shifted to the given prevalence of {prevalence:g}; nothing was measured",
        films=0,
        patients=0,
        events=0,
    )


def _point(films: Films, name: str, calibration: Calibration, target: Target, site: str) -> OperatingPoint:
    labels_N = films.labels_NF[:, INDEX[name]]
    probabilities_N = calibration.apply(films.scores_NF[:, INDEX[name]])
    known_N = ~np.isnan(labels_N) & ~np.isnan(probabilities_N)
    try:
        return point_for(target, probabilities_N[known_N], labels_N[known_N], f"films of {site}")
    except RequestError as error:
        raise RequestError(f"{name}: {error.detail}") from None


def _pair(films: Films, name: str, before: Calibration, wish: PairWish, site: str) -> DecisionPair:
    labels_N = films.labels_NF[:, INDEX[name]]
    probabilities_N = before.apply(films.scores_NF[:, INDEX[name]])
    known_N = ~np.isnan(labels_N) & ~np.isnan(probabilities_N)
    try:
        return pair_for(wish, probabilities_N[known_N], labels_N[known_N], f"films of {site}")
    except RequestError as error:
        raise RequestError(f"{name}: {error.detail}") from None


def watch_references(films: Films) -> tuple[GroupReference, ...]:
    """The references of all films together, and of each station and view with enough of them."""
    bins_NS = np.array([bins_of(values_S) for values_S in films.values_NS])
    if not len(bins_NS):
        return ()
    names = [GroupName(*pair) for pair in zip(films.stations, films.views, strict=True)]
    references = [_reference(ALL, bins_NS)]
    for name, count in sorted(Counter(names).items()):
        if count >= _MIN_GROUP:
            here_N = np.array([other == name for other in names])
            references.append(_reference(name, bins_NS[here_N]))
    return tuple(references)


def _reference(name: GroupName, bins_NS: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> GroupReference:
    counts_SB = np.zeros((len(STREAMS), BINS), np.int64)
    for row in range(len(STREAMS)):
        known_N = bins_NS[:, row] >= 0
        counts_SB[row] = np.bincount(bins_NS[known_N, row], minlength=BINS)
    return GroupReference.of(*name, counts_SB, len(bins_NS))
