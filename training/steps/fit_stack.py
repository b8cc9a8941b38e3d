"""Fit the stack: p_f = Σ_s w_fs σ(l_fs) with w = softmax over scales of v (Haque, Dubey, Hinkle 2021).

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

from training.recipes import StackConfig

# The fit has converged when the last tenth of its epochs moved no weight by more than this.
CONVERGED: Final = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class StackFit:
    """Fitted weights.

    Attributes:
        weights_FS: float64 [F, S], rows sum to 1.
        loss: binary cross-entropy at the end, mean over images and findings.
        last_move: largest change of a weight over the last tenth of the epochs.
    """

    weights_FS: NDArray[np.float64]
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
    logits = torch.from_numpy(np.asarray(logits_NFS, np.float64))
    labels = torch.from_numpy(np.asarray(labels_NF, np.float64))
    v_FS = torch.zeros(logits.shape[1:], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([v_FS], config.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, config.decay)
    earlier_FS = v_FS.detach().softmax(-1)
    for epoch in range(config.epochs):
        if epoch == config.epochs - max(1, config.epochs // 10):
            earlier_FS = v_FS.detach().softmax(-1)
        optimiser.zero_grad()
        stack_loss(logits, labels, v_FS).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    weights_FS = v_FS.detach().softmax(-1)
    return StackFit(
        # A row sums to 1 to the last digit of double precision; the contract asks for 1e-6.
        weights_FS=weights_FS.numpy(),
        loss=float(stack_loss(logits, labels, v_FS).detach()),
        last_move=float((weights_FS - earlier_FS).abs().max()),
    )


def stack_loss(logits_NFS: Tensor, labels_NF: Tensor, v_FS: Tensor) -> Tensor:
    """Binary cross-entropy of the stacked probability, from logits: no digit is lost at either end.

    log p = logsumexp_s(log w + log σ(l)) and log(1 − p) = logsumexp_s(log w + log σ(−l)), as Σ w = 1.
    Mean over the labels that are known, i.e. not NaN.
    """
    log_weights_FS = v_FS.log_softmax(-1)
    log_present_NF = torch.logsumexp(log_weights_FS + functional.logsigmoid(logits_NFS), -1)
    log_absent_NF = torch.logsumexp(log_weights_FS + functional.logsigmoid(-logits_NFS), -1)
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
