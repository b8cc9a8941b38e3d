"""Early decisions with a guarantee: run scales one after another, stop once every decision is settled.

A decision is the side of its operating point on which a finding's probability lies. The stack is a convex
sum, so the scales that have run already bound it:

    Σ_done w σ(l)  ≤  p  ≤  Σ_done w σ(l) + Σ_left w.

Two guarantees:

- *exact*: these bounds and nothing else. The decision is the full ensemble's of the same logits, always, to
  the last bit: a probability at its threshold counts as above, here as there. (On a GPU a batch of another
  size may round a logit otherwise.) Nothing tighter can be proved without running the scale: a network's
  logit has no useful bound that holds for every image.
- *conformal*: what the scales left will add is predicted from what the others said, and the prediction's
  error is bounded by conformal risk control (Angelopoulos et al. 2022) on images that fitted nothing. For
  an image exchangeable with those, on an engine and precision whose logits they were, the probability that
  any decision asked for differs from the full ensemble's is at most ε. The exact bounds hold besides, and
  are used where they are tighter.

Legend: F findings, S scales (ascending by size), K stages (scales that have run).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.triage_calibration import Arithmetic, TriageCalibration
from cxrserve.ensemble.stack import sigmoid, stacked
from cxrserve.errors import RequestError

Guarantee = Literal["exact", "conformal"]
Floats = NDArray[np.float64]
# The bounds are sums of a few doubles in another order than the full sum: far wider than their rounding.
_ROUNDING: Final = 1e-12


def logit(probability: NDArray[np.floating] | float) -> Floats:
    """ln(p / (1 − p)), with p kept off 0 and 1 by the smallest step a double has near 1."""
    inside = np.clip(
        np.asarray(probability, np.float64), np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps
    )
    value: Floats = np.log(inside) - np.log1p(-inside)
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Bounds on each finding's probability, float64 [F] each."""

    lower_F: Floats
    upper_F: Floats

    def settled_F(self, thresholds_F: Floats) -> NDArray[np.bool_]:
        """True where both bounds lie on one side of the threshold (at it counts as above)."""
        settled: NDArray[np.bool_] = (self.lower_F >= thresholds_F) | (self.upper_F < thresholds_F)
        return settled


def exact_bounds(logits_FS: Floats, weights_FS: Floats, done_S: NDArray[np.bool_]) -> Bounds:
    """The bounds that hold for any output of the remaining scales.

    Args:
        logits_FS: float64 [F, S]; values of scales that have not run, or have no weight, are not looked at.
        done_S: True for the scales that have run.

    Returns:
        bounds that hold. Where no scale with weight is left, both are the full ensemble's probability itself,
        to the last bit, so that p ≥ threshold is answered as the full ensemble answers it.
    """
    weighs_FS = weights_FS > 0
    done_FS = weighs_FS & done_S
    # σ(0) times the weight 0 adds nothing, so scales without weight need not have run: `partial_F` is then
    # the full ensemble's probability, bit for bit, summed by the same function.
    partial_F = stacked(np.where(done_FS, logits_FS, 0.0)[None], np.where(done_FS, weights_FS, 0.0))[0]
    left_F = np.where(done_S, 0.0, weights_FS).sum(axis=1)
    open_F = (weighs_FS & ~done_S).any(axis=1)
    return Bounds(
        lower_F=np.where(open_F, partial_F - _ROUNDING, partial_F).clip(0, 1),
        upper_F=np.where(open_F, partial_F + left_F + _ROUNDING, partial_F).clip(0, 1),
    )


def predicted_logits(conformal: TriageCalibration, logits_FS: Floats, stage: int) -> Floats:
    """The logit [..., F] of the ensemble's probability, predicted from the `stage` coarsest scales.

    Args:
        logits_FS: float64 [..., F, S].
    """
    coefficients_FP = np.array(conformal.stages[stage - 1].coefficients, np.float64)
    inputs = logits_FS[..., :stage].reshape(*logits_FS.shape[:-2], -1)
    predicted: Floats = inputs @ coefficients_FP[:, :-1].T + coefficients_FP[:, -1]
    return predicted


def margin(conformal: TriageCalibration, epsilon: float, findings: Collection[int]) -> float:
    """Margin of a predicted logit, in spreads: the conformal quantile for `epsilon`.

    It is the quantile of each image's largest score over the findings that are decided, so it bounds the
    share of images on which any of them is wrong, and is as narrow for one finding as for it alone.

    Raises:
        RequestError: ε is smaller than 1 / (n + 1) for the n images the bundle was calibrated on, or so
            large that the bundle does not hold the quantile.
    """
    count = conformal.images
    smallest, largest = 1 / (count + 1), conformal.reach / (count + 1)
    if not smallest <= epsilon <= largest:
        raise RequestError(
            f"epsilon {epsilon:g} is out of reach: this bundle was calibrated on {count} images, which "
            f"allows {smallest:.6f} to {largest:.4f}. Ask for the guarantee exact, or another epsilon."
        )
    scores_NF = np.array(conformal.worst, np.float64).reshape(-1, len(conformal.predicts))
    largest_N = np.sort(scores_NF[:, sorted(set(findings))].max(axis=1))[::-1]
    # The ⌈(n + 1)(1 − ε)⌉-th smallest of n scores is the ⌊(n + 1) ε⌋-th largest; those not kept are 0.
    rank = math.floor((count + 1) * epsilon + 1e-9)
    return float(largest_N[rank - 1]) if rank <= len(largest_N) else 0.0


def _open_margin(
    guarantee: Guarantee, calibration: TriageCalibration | None, epsilon: float, findings: Collection[int]
) -> float:
    if guarantee == "exact":
        return math.inf
    if calibration is None or not calibration.images:
        raise RequestError(
            "this bundle holds no calibration for the guarantee conformal; ask for the guarantee exact."
        )
    return margin(calibration, epsilon, findings)


def _predicts(guarantee: Guarantee, calibration: TriageCalibration | None, findings: Collection[int]) -> bool:
    """Whether predictions are worth their way from coarse to fine; where not, the exact bounds keep any ε."""
    if guarantee == "exact" or calibration is None:
        return False
    everything = len(set(findings)) == len(calibration.predicts)
    return (
        calibration.predicts_all if everything else all(calibration.predicts[finding] for finding in findings)
    )


def doubts(calibration: TriageCalibration, served: Arithmetic) -> tuple[str, ...]:
    """The reasons why the conformal guarantee does not cover `served`; empty if it does."""
    reasons = list(calibration.caveats)
    measured = " and ".join(map(str, calibration.arithmetics))
    if not measured:
        reasons.append(
            "The bundle does not say on which engine its conformal margins were measured: epsilon is not "
            f"guaranteed on {served}. Calibrate it here: cxrserve models triage."
        )
    elif served not in calibration.arithmetics:
        reasons.append(
            f"The conformal margins were measured on {measured}, and this is {served}: epsilon is not "
            "guaranteed. Calibrate the bundle here (cxrserve models triage), or ask for the guarantee exact."
        )
    return tuple(reasons)


def _order(
    sizes: tuple[int, ...], calibration: TriageCalibration | None, findings: Collection[int]
) -> tuple[int, ...]:
    """The scales by decision per cost, as measured when the bundle was made; else from coarse to fine."""
    if calibration is None:
        return sizes
    return calibration.orders[next(iter(findings))] if len(findings) == 1 else calibration.order


class Triage:
    """The decisions about one image, settled scale after scale.

    `next_size` is the scale to run next, or None once all decisions are settled; `record` adds its output.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights_FS: Floats,
        thresholds_F: Floats,
        *,
        findings: Collection[int],
        guarantee: Guarantee = "exact",
        calibration: TriageCalibration | None = None,
        epsilon: float = 0.001,
    ) -> None:
        """Start without any output.

        Args:
            sizes: of the scales, ascending.
            findings: indices of the findings to decide, at least one.
            calibration: that of the bundle; without it the scales run from coarse to fine.
            epsilon: for the guarantee conformal.

        Raises:
            RequestError: the conformal guarantee is asked for, and the bundle holds no calibration for it, or
                none for this ε.
        """
        self._sizes: Final = tuple(sizes)
        self._weights_FS: Final = weights_FS
        self._thresholds_F: Final = thresholds_F
        self._wanted_F: Final = np.zeros(len(thresholds_F), np.bool_)
        self._wanted_F[list(findings)] = True
        self._margin: Final = _open_margin(guarantee, calibration, epsilon, findings)
        self._conformal: Final = calibration if _predicts(guarantee, calibration, findings) else None
        self._order: Final = self._sizes if self._conformal else _order(self._sizes, calibration, findings)
        self.logits_FS: Final[Floats] = np.full(weights_FS.shape, np.nan)
        self.settled_by: Final[dict[int, int]] = {}
        self._done_S: Final = np.zeros(len(sizes), np.bool_)
        # Bounds of a finding stay as they were when it was settled: the decision and its reason go together.
        self._bounds = exact_bounds(self.logits_FS, weights_FS, self._done_S)
        self._settle(0)

    @property
    def predicts(self) -> bool:
        """True if predictions may settle a decision, not only the exact bounds."""
        return self._conformal is not None

    @property
    def ran(self) -> tuple[int, ...]:
        """Sizes of the scales that have run."""
        return tuple(size for size, has_run in zip(self._sizes, self._done_S, strict=True) if has_run)

    @property
    def work(self) -> float:
        """Share of the full ensemble's work that was done: a network costs as its pixels do."""
        return sum(size**2 for size in self.ran) / sum(size**2 for size in self._sizes)

    @property
    def bounds(self) -> Bounds:
        """The bounds of each finding; for a settled one, those at the time it was settled."""
        return self._bounds

    @property
    def positive_F(self) -> NDArray[np.bool_]:
        """True where the decision is "at or above the operating point". Meaningless for open ones."""
        positive: NDArray[np.bool_] = self._bounds.lower_F >= self._thresholds_F
        return positive

    def next_size(self) -> int | None:
        """The next scale that can settle an open decision; None if there is none."""
        open_F = self._wanted_F.copy()
        open_F[list(self.settled_by)] = False
        for size in self._order:
            index = self._sizes.index(size)
            if not self._done_S[index] and self._bears_on(open_F, index):
                return size
        return None

    def _bears_on(self, open_F: NDArray[np.bool_], index: int) -> bool:
        """A prediction needs every coarser scale; the bounds need only those with a weight."""
        if self._conformal is not None and index < len(self._sizes) - 1:
            return bool(open_F.any())
        return bool((self._weights_FS[open_F, index] > 0).any())

    def record(self, size: int, logits_F: NDArray[np.floating]) -> None:
        """Add the logits of the scale of `size`, float [F]."""
        index = self._sizes.index(size)
        self.logits_FS[:, index] = logits_F
        self._done_S[index] = True
        self._settle(size)

    def _settle(self, size: int) -> None:
        known = self._known()
        fixed_F = np.zeros_like(self._wanted_F)
        fixed_F[list(self.settled_by)] = True
        self._bounds = Bounds(
            lower_F=np.where(fixed_F, self._bounds.lower_F, known.lower_F),
            upper_F=np.where(fixed_F, self._bounds.upper_F, known.upper_F),
        )
        for finding in np.flatnonzero(known.settled_F(self._thresholds_F) & self._wanted_F & ~fixed_F):
            self.settled_by[int(finding)] = size

    def _known(self) -> Bounds:
        exact = exact_bounds(self.logits_FS, self._weights_FS, self._done_S)
        stage = int(self._done_S.sum())
        in_order = bool(self._done_S[:stage].all())
        if self._conformal is None or not 0 < stage < len(self._sizes) or not in_order:
            return exact
        centre_F = predicted_logits(self._conformal, self.logits_FS, stage)
        reach_F = self._margin * np.array(self._conformal.stages[stage - 1].spread, np.float64)
        # A prediction that the exact bounds prove wrong stops at them: lower never passes upper.
        return Bounds(
            lower_F=sigmoid(centre_F - reach_F).clip(exact.lower_F, exact.upper_F),
            upper_F=sigmoid(centre_F + reach_F).clip(exact.lower_F, exact.upper_F),
        )
