"""The stack: p_f = Σ_s w_fs σ(l_fs), a convex sum of the scales' probabilities (Haque, Dubey, Hinkle 2021).

Legend: N images, F findings, S scales.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sigmoid(logits: NDArray[np.floating]) -> Floats:
    """σ(l) in double precision: no overflow, and σ(−l) keeps its digits where σ(l) is near 1."""
    logits = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(logits))
    probability: Floats = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return probability


def stacked(logits_NFS: NDArray[np.floating], weights_FS: NDArray[np.floating]) -> Floats:
    """Probabilities [N, F] of the ensemble, from logits [N, F, S] and weights [F, S] whose rows sum to 1."""
    probabilities_NF: Floats = np.einsum("nfs,fs->nf", sigmoid(logits_NFS), weights_FS)
    return probabilities_NF.clip(0.0, 1.0)


def voted(logits_NFS: NDArray[np.floating]) -> Floats:
    """Probabilities [N, F] of plain averaging, the baseline that the stack is compared with."""
    probabilities_NF: Floats = sigmoid(logits_NFS).mean(axis=-1)
    return probabilities_NF


def evidence_weights(logits_FS: NDArray[np.floating], weights_FS: NDArray[np.floating]) -> Floats:
    """The weight of each scale's map in the ensemble's heatmap, [F, S].

    The gradient of −log(1 − p_f) with respect to each logit: w_fs σ(l_fs) σ(−l_fs) / (1 − p_f). That is
    the gradient of the stacked probability, w_fs σ'(l_fs), times one constant for the finding, so the
    heatmap is Grad-CAM's. Of p alone the gradient vanishes for a certain finding, and its heatmap with
    it; of −log(1 − p) it vanishes only as p does: the absent stays dark, the certain stays bright.
    1 − p is summed as Σ w σ(−l), which loses no digits near 1.
    """
    absent_FS = sigmoid(-np.asarray(logits_FS, np.float64))
    slope_FS = weights_FS * sigmoid(logits_FS) * absent_FS
    absent_F = np.sum(weights_FS * absent_FS, axis=-1, keepdims=True)
    evidence_FS: Floats = slope_FS / np.maximum(absent_F, np.finfo(np.float64).tiny)
    return evidence_FS
