"""Labels to targets: what becomes of findings that a report leaves uncertain or does not mention.

Legend: N images (or studies), F findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.findings import INDEX, NAMES, canonical, indices
from training.datasets.sample import NEGATIVE, POSITIVE, UNCERTAIN

Labels = NDArray[np.float32]
Mask = NDArray[np.bool_]
# U-Zeros, U-Ones and U-Ignore of Irvin et al. 2019. Their U-MultiClass (a third output for "uncertain") is
# left out: a bundle answers with one probability for each finding.
Uncertain = Literal["zeros", "ones", "ignore"]
POLICIES: Final[tuple[Uncertain, ...]] = ("zeros", "ones", "ignore")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPolicy:
    """Policy for uncertain and unmentioned findings.

    Attributes:
        uncertain: "zeros" (negative), "ones" (positive) or "ignore" (masked in the loss).
        overrides: another such word for some findings, by name. "No Finding" is treated like the others.
        unmentioned: "zeros", as every published recipe has it, or "ignore": silence is no proof of absence.

    Raises:
        ValueError: an unknown word or finding.
    """

    uncertain: Uncertain = "zeros"
    overrides: Mapping[str, Uncertain] = field(default_factory=dict)
    unmentioned: Literal["zeros", "ignore"] = "zeros"

    def __post_init__(self) -> None:
        for word in (self.uncertain, *self.overrides.values()):
            if word not in POLICIES:
                raise ValueError(
                    f"unknown label policy {str(word)[:40]!r}; expected one of {', '.join(POLICIES)}"
                )
        if self.unmentioned not in ("zeros", "ignore"):
            raise ValueError(f"unmentioned is {str(self.unmentioned)[:40]!r}; expected zeros or ignore")
        for name in self.overrides:
            canonical(name)

    def by_finding(self) -> tuple[Uncertain, ...]:
        """The word for each finding, in the order of `cxrserve.findings`."""
        own = {canonical(name): word for name, word in self.overrides.items()}
        return tuple(own.get(name, self.uncertain) for name in NAMES)


def apply_policy(
    labels_NF: Labels, policy: LabelPolicy, annotated: tuple[str, ...] = NAMES
) -> tuple[Labels, Mask]:
    """Targets for the loss and where they count.

    Args:
        labels_NF: [N, 14] of 1, 0, -1 (uncertain) and NaN (not mentioned).
        annotated: findings that the source says anything about; the others are masked (`Manifest.annotated`).

    Returns:
        targets_NF: float32 [N, 14], 0 or 1; 0 where masked.
        mask_NF: bool [N, 14], true where the target counts.
    """
    uncertain_NF, unmentioned_NF = labels_NF == UNCERTAIN, np.isnan(labels_NF)
    ones_F = np.array([word == "ones" for word in policy.by_finding()])
    ignore_F = np.array([word == "ignore" for word in policy.by_finding()])
    targets_NF = (labels_NF == POSITIVE) | (uncertain_NF & ones_F)
    mask_NF = ~(uncertain_NF & ignore_F)
    if policy.unmentioned == "ignore":
        mask_NF &= ~unmentioned_NF
    mask_NF &= np.isin(np.arange(len(NAMES)), indices(annotated))
    return (targets_NF & mask_NF).astype(np.float32), mask_NF


def with_a_positive(targets_NF: Labels) -> NDArray[np.bool_]:
    """bool [N]: at least one target is positive, "No Finding" among them.

    xclassifier trains on these alone (Monshi et al., "Datasets").
    """
    return np.asarray((targets_NF == POSITIVE).any(axis=1))


def study_targets(labels_NF: Labels, finding: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Targets of one finding of N studies, as chizari trains it.

    Positive and uncertain studies are positive. Of the others, those that deny the finding and those with
    "No Finding" are negative (section 5.1: 17,265 negatives, of which only 16,627 can have No Finding); the
    rest is left out.

    Returns:
        targets_N: float32 [N], 0 or 1; 0 where left out.
        keep_N: bool [N].
    """
    (index,) = indices([finding])
    if index == INDEX["No Finding"]:
        raise ValueError("study_targets: No Finding stands for the negatives; choose one of the other 13")
    positive_N = np.isin(labels_NF[:, index], (POSITIVE, UNCERTAIN))
    negative_N = (labels_NF[:, index] == NEGATIVE) | (labels_NF[:, INDEX["No Finding"]] == POSITIVE)
    return positive_N.astype(np.float32), np.asarray(positive_N | negative_N)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CoOccurrence:
    """Co-occurrence of findings, in percent (xclassifier, Tables 1 and 2).

    Attributes:
        share_F: float64 [14], images with the finding, of all images.
        matrix_FF: float64 [14, 14], row f column g: images with g, of those with f; the diagonal is 100.
            A row is NaN where no image has f.
    """

    share_F: NDArray[np.float64]
    matrix_FF: NDArray[np.float64]


def co_occurrence(labels_NF: Labels) -> CoOccurrence:
    """The co-occurrence of positive labels among N images; uncertain and unmentioned are not positive.

    Raises:
        ValueError: there are no images.
    """
    if not len(labels_NF):
        raise ValueError("co_occurrence needs at least one image")
    positive_NF = (labels_NF == POSITIVE).astype(np.float64)
    together_FF = positive_NF.T @ positive_NF
    count_F = np.diag(together_FF)
    matrix_FF = np.full_like(together_FF, np.nan)
    np.divide(100 * together_FF, count_F[:, None], out=matrix_FF, where=count_F[:, None] > 0)
    return CoOccurrence(share_F=100 * count_F / len(labels_NF), matrix_FF=matrix_FF)
