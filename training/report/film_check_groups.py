"""The film check on the test images: who is refused or warned, by view, sex, age and finding.

A check that refuses the sickest patients is a harm, so the report shows its decisions by group, with
intervals. Refused images are scored all the same: the figures of the ensemble are of all images.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import load_bundle
from cxrserve.film_check.decision import decide
from cxrserve.film_check.look import Looker
from cxrserve.findings import NAMES
from cxrserve.reports.ranking import Interval
from training.datasets.samples import Samples
from training.report.facts import People, age_bands
from training.triage.check import clopper_pearson

# Below so many images a share says little; such groups are left out, as the note under the table states.
MIN_IMAGES: Final = 20
# Images that are looked at, evenly over the test set where it has more.
MAX_IMAGES: Final = 3000
# Groups with fewer images are not compared with the others.
MIN_JUDGED: Final = 50
# A group is uneven where it is refused more than this many times as often as the others.
UNEVEN: Final = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupShare:
    """Decisions of the film check about one group of test images.

    Attributes:
        by: "all", "view", "sex", "age" or "finding".
        refused: share of its images that would be refused, with Clopper and Pearson's 95 % interval.
        warned: share that would be answered with a warning of the check.
        others_refused: share of the other images that would be refused; None for all images.
        uneven: it has `MIN_JUDGED` images or more, it is refused more than `UNEVEN` times as often as the
            others, and its lower bound lies above their share: one refused image proves nothing yet.
    """

    by: str
    group: str
    images: int
    refused: Interval
    warned: Interval
    others_refused: float | None = None
    uneven: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmCheckResult:
    """The film check's decisions about the test images.

    Attributes:
        images: images that were looked at.
        reasons: how many were refused or warned of, by reason.
        groups: the first is of all images.
    """

    images: int
    measured_on: str
    reasons: dict[str, int]
    groups: tuple[GroupShare, ...]


def measure_film_check(bundle: Path, samples: Samples, people: People | None) -> FilmCheckResult | None:
    """Look at the test images with the bundle's film check.

    Args:
        people: of the images of `samples`, in their order.

    Returns:
        None where the bundle has no film check, or the samples lack the level that it looks at.
    """
    loaded = load_bundle(bundle)
    section, model = loaded.contract.film_check, loaded.film_check_model
    if section is None or model is None or section.size not in loaded.contract.preprocessing.sizes:
        return None
    looker, level_NSS = Looker(section, model), samples.level(section.size)
    index_M = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), MAX_IMAGES)).round().astype(int))
    refused_M, warned_M = np.zeros(len(index_M), bool), np.zeros(len(index_M), bool)
    reasons: Counter[str] = Counter()
    for row, index in enumerate(index_M):
        decision = decide(looker.look(np.asarray(level_NSS[int(index)])), section)
        if decision.refusal is not None:
            refused_M[row] = True
            reasons[f"refused: {decision.refusal.slug}"] += 1
        elif decision.warnings:
            warned_M[row] = True
            reasons.update(f"warned: {warning.code}" for warning in decision.warnings)
    groups = [
        _share(by, group, mask_M, refused_M, warned_M)
        for by, group, mask_M in _masks(index_M, samples, people)
        if by == "all" or mask_M.sum() >= MIN_IMAGES
    ]
    return FilmCheckResult(
        images=len(index_M),
        measured_on=section.measured_on,
        reasons=dict(reasons.most_common()),
        groups=tuple(groups),
    )


def _masks(
    index_M: NDArray[np.int_], samples: Samples, people: People | None
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    masks: list[tuple[str, str, NDArray[np.bool_]]] = [("all", "all images", np.ones(len(index_M), bool))]
    if people is not None and len(people.view_N) == len(samples):
        for by, values_N in (("view", people.view_N), ("sex", people.sex_N)):
            values_M = values_N[index_M]
            masks += [
                (by, str(value), values_M == value) for value in np.unique(values_M) if value != "unknown"
            ]
        masks += [("age", name, band_N[index_M]) for name, band_N in age_bands(people.age_N)]
    labels_MF = samples.labels_NF[index_M]
    masks += [("finding", name, labels_MF[:, column] == 1) for column, name in enumerate(NAMES)]
    return masks


def _share(
    by: str,
    group: str,
    mask_M: NDArray[np.bool_],
    refused_M: NDArray[np.bool_],
    warned_M: NDArray[np.bool_],
) -> GroupShare:
    refused, images = _proportion(refused_M[mask_M]), int(mask_M.sum())
    others = None if mask_M.all() else float(refused_M[~mask_M].mean())
    assert refused.low is not None
    return GroupShare(
        by=by,
        group=group,
        images=images,
        refused=refused,
        warned=_proportion(warned_M[mask_M]),
        others_refused=others,
        uneven=others is not None
        and images >= MIN_JUDGED
        and refused.value > UNEVEN * others
        and refused.low > others,
    )


def uneven_words(share: GroupShare) -> str | None:
    """A sentence about a group that is refused much more often than the others; None for other groups."""
    if not share.uneven:
        return None
    return (
        f"The film check refuses {share.refused.value:.1%} of the images with {share.by} {share.group}, and "
        f"{share.others_refused:.1%} of the others: look at these images before the bundle is used."
    )


def _proportion(events_M: NDArray[np.bool_]) -> Interval:
    low, high = clopper_pearson(int(events_M.sum()), len(events_M))
    return Interval(value=float(events_M.mean()), low=low, high=high)
