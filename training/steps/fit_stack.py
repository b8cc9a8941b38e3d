"""Fit the stack: p_f = Σ_s w_fs σ(l_fs) with w = softmax over scales of v (Haque, Dubey, Hinkle 2021).

Two kinds. "published" takes the logits of the networks. Its weights go to the scale whose probabilities are
calibrated best, which need not be the one that ranks best. "calibrated" calibrates each scale by finding
first: a scale that sees nothing of a finding then says nearly the same of every image, and disturbs no
ranking. And it fits the weights together with a logistic map of the sum (a transformed linear pool, Ranjan
and Gneiting 2010), since a sum of calibrated probabilities is too careful, and would else put all its
weight on one scale; the map is left to the bundle's calibration.

Legend: N images, F findings, S scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrserve.ensemble.calibration import MIN_EVENTS, fit_logistic
from training.calibration.chosen import ridge_for
from training.recipes import StackConfig

Floats = NDArray[np.float64]

# The fit has converged when the last tenth of its epochs moved no weight by more than this.
CONVERGED: Final = 0.01
# Images' worth of equal weights that the weights of calibrated scales are held to, for each finding.
PRIOR: Final = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StackFit:
    """Fitted weights.

    Attributes:
        weights_FS: float64 [F, S], rows sum to 1.
        slopes_FS, intercepts_FS: float64 [F, S], what a logit gets before it is stacked; ones and zeros
            where the stack is of the published kind.
        map_F2: float64 [F, 2], slope and intercept of the logistic map that the sum was fitted with; None
            where the stack is of the published kind.
        loss: binary cross-entropy at the end, mean over images and findings; of calibrated scales after the
            logistic map, and with the prior of equal weights.
        last_move: largest change of a weight over the last tenth of the epochs.
    """

    weights_FS: Floats
    slopes_FS: Floats
    intercepts_FS: Floats
    map_F2: Floats | None
    loss: float
    last_move: float

    @property
    def converged(self) -> bool:
        return self.last_move <= CONVERGED


def fit_stack(
    logits_NFS: NDArray[np.floating], labels_NF: NDArray[np.floating], config: StackConfig
) -> StackFit:
    """Weights that minimise binary cross-entropy on validation logits [N, F, S] and labels [N, F].

    v starts at zero, which is voting; Adam with an exponentially falling rate, full batch. A label that is
    NaN does not count; a finding of which nothing is known keeps equal weights.
    """
    raw_NFS: Floats = np.asarray(logits_NFS, np.float64)
    slopes_FS, intercepts_FS = np.ones(raw_NFS.shape[1:]), np.zeros(raw_NFS.shape[1:])
    if config.kind == "calibrated":
        slopes_FS, intercepts_FS = member_logistics(raw_NFS, labels_NF)
    logits = torch.from_numpy(slopes_FS * raw_NFS + intercepts_FS)
    labels = torch.from_numpy(np.asarray(labels_NF, np.float64))
    v_FS = torch.zeros(logits.shape[1:], dtype=torch.float64, requires_grad=True)
    map_F2 = torch.tensor([[1.0, 0.0]] * logits.shape[1], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        if config.kind == "published":
            return stack_loss(logits, labels, v_FS)
        return pool_loss(logits, labels, v_FS, map_F2)

    optimiser = torch.optim.Adam([v_FS, map_F2], config.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, config.decay)
    earlier_FS = v_FS.detach().softmax(-1)
    for epoch in range(config.epochs):
        if epoch == config.epochs - max(1, config.epochs // 10):
            earlier_FS = v_FS.detach().softmax(-1)
        optimiser.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    weights_FS = v_FS.detach().softmax(-1)
    return StackFit(
        # A row sums to 1 to the last digit of double precision; the contract asks for 1e-6.
        weights_FS=weights_FS.numpy(),
        slopes_FS=slopes_FS,
        intercepts_FS=intercepts_FS,
        map_F2=None if config.kind == "published" else map_F2.detach().numpy(),
        loss=float(loss().detach()),
        last_move=float((weights_FS - earlier_FS).abs().max()),
    )


def member_logistics(logits_NFS: Floats, labels_NF: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Slopes and intercepts [F, S] that calibrate each scale; a finding too rare to fit keeps its logits."""
    slopes_FS, intercepts_FS = np.ones(logits_NFS.shape[1:]), np.zeros(logits_NFS.shape[1:])
    for finding in range(logits_NFS.shape[1]):
        known_N = ~np.isnan(labels_NF[:, finding])
        positive_N = labels_NF[known_N, finding] > 0.5
        if min(positive_N.sum(), (~positive_N).sum()) < MIN_EVENTS:
            continue
        for scale in range(logits_NFS.shape[2]):
            fitted = fit_logistic(
                logits_NFS[known_N, finding, scale], positive_N, ridge=ridge_for(positive_N)
            )
            slopes_FS[finding, scale] = fitted.slope
            intercepts_FS[finding, scale] = fitted.intercept
    return slopes_FS, intercepts_FS


def stack_loss(logits_NFS: Tensor, labels_NF: Tensor, v_FS: Tensor) -> Tensor:
    """Binary cross-entropy of the stacked probability, from logits: no digit is lost at either end.

    log p = logsumexp_s(log w + log σ(l)) and log(1 − p) = logsumexp_s(log w + log σ(−l)), as Σ w = 1.
    Mean over the labels that are known, i.e. not NaN.
    """
    log_present_NF, log_absent_NF = _logarithms(logits_NFS, v_FS)
    return _mean_known(labels_NF, log_present_NF, log_absent_NF)


def pool_loss(logits_NFS: Tensor, labels_NF: Tensor, v_FS: Tensor, map_F2: Tensor) -> Tensor:
    """The same after the logistic map σ(slope · logit(p) + intercept), with the prior of equal weights.

    The prior is that of `PRIOR` images' worth of the mean of −log w.
    """
    log_present_NF, log_absent_NF = _logarithms(logits_NFS, v_FS)
    mapped_NF = map_F2[:, 0] * (log_present_NF - log_absent_NF) + map_F2[:, 1]
    fit = _mean_known(labels_NF, functional.logsigmoid(mapped_NF), functional.logsigmoid(-mapped_NF))
    return fit - PRIOR * v_FS.log_softmax(-1).mean(-1).sum() / (~labels_NF.isnan()).sum().clamp(min=1)


def _logarithms(logits_NFS: Tensor, v_FS: Tensor) -> tuple[Tensor, Tensor]:
    log_weights_FS = v_FS.log_softmax(-1)
    return (
        torch.logsumexp(log_weights_FS + functional.logsigmoid(logits_NFS), -1),
        torch.logsumexp(log_weights_FS + functional.logsigmoid(-logits_NFS), -1),
    )


def _mean_known(labels_NF: Tensor, log_present_NF: Tensor, log_absent_NF: Tensor) -> Tensor:
    known_NF = ~labels_NF.isnan()
    labels_NF = labels_NF.nan_to_num()
    loss_NF = -(labels_NF * log_present_NF + (1 - labels_NF) * log_absent_NF)
    return (loss_NF * known_NF).sum() / known_NF.sum().clamp(min=1)


def loss_of(probabilities_NF: NDArray[np.float64], labels_NF: NDArray[np.floating]) -> float:
    """Binary cross-entropy of probabilities, mean over the labels that are known, i.e. not NaN."""
    known_NF = ~np.isnan(labels_NF)
    # The smallest distance from 0 and 1 that double precision keeps apart on both sides.
    clipped = np.clip(probabilities_NF[known_NF], 1e-16, 1 - 1e-16)
    labels = labels_NF[known_NF].astype(np.float64)
    return float(-(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)).mean())
