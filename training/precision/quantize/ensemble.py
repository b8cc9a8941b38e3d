"""The ensemble's gate: variants that each pass alone may together move the stack's probabilities.

Legend: N images, F findings, S scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Member, Variant
from cxrserve.ensemble.predictor import member_calibrations
from cxrserve.ensemble.stack import stacked
from training.precision.gate import Limits, auc_falls

Floats = NDArray[np.float32]
_INTEGERS = ("int8", "mixed")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judged:
    """A member after its own gate, with what it says of the images of the gate.

    Attributes:
        exact_NF: logits in single precision.
        served_NF: logits of the variant in integers; those in single precision where there is none.
    """

    member: Member
    exact_NF: Floats
    served_NF: Floats

    @property
    def variant(self) -> Variant | None:
        """The variant in integers, None without one."""
        return next((one for one in self.member.variants if one.precision in _INTEGERS), None)

    def without(self, why: str) -> Judged:
        """The member without its variant in integers, and the reason."""
        variant = self.variant
        assert variant is not None
        others = tuple(one for one in self.member.variants if one is not variant)
        refused = self.member.refused | {variant.precision: why}
        member = self.member.model_copy(update={"variants": others, "refused": refused})
        return replace(self, member=member, served_NF=self.exact_NF)


def ensemble_falls(
    judged: Sequence[Judged], weights_FS: NDArray[np.float64], labels_NF: Floats
) -> list[float]:
    """Fall of the ensemble's AUC, of each finding with both classes; members are calibrated as they serve."""
    slopes_FS, intercepts_FS = member_calibrations([one.member for one in judged])
    exact_NF, served_NF = (
        stacked(slopes_FS * np.stack(scales, -1).astype(np.float64) + intercepts_FS, weights_FS)
        for scales in ([one.exact_NF for one in judged], [one.served_NF for one in judged])
    )
    return auc_falls(exact_NF, served_NF, labels_NF)


def admitted(
    judged: Sequence[Judged],
    weights_FS: NDArray[np.float64],
    labels_NF: Floats | None,
    limits: Limits,
    folder: Path,
    data: str,
) -> tuple[list[Member], float | None]:
    """Members whose variants may serve together, and the fall of the ensemble's mean AUC with them.

    While it falls by more than `limits.auc`, the variant whose own AUC falls most is removed, with its file.

    Args:
        labels_NF: without any, nothing is measured and every variant stays.
    """
    members = list(judged)
    if labels_NF is None:
        return [one.member for one in members], None
    while True:
        falls = ensemble_falls(members, weights_FS, labels_NF)
        fall = round(float(np.mean(falls)), 5) if falls else None
        varied = [(index, one.variant) for index, one in enumerate(members) if one.variant is not None]
        if fall is None or fall <= limits.auc or not varied:
            return [one.member for one in members], fall
        index, variant = max(varied, key=lambda one: one[1].gate.mean_auc or 0.0)
        why = f"the ensemble's mean AUC falls by {fall:.4f}, more than {limits.auc:g} ({data})"
        members[index] = members[index].without(why)
        (folder / variant.file).unlink(missing_ok=True)
