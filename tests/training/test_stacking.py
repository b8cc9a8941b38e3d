"""The stack finds what an independent optimiser finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cxrserve.ensemble import stack
from training.recipes import StackConfig
from training.steps.fit_stack import fit_stack, stack_loss


def opinions(images: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, 14, 3] of three scales, the later the better, and labels [N, 14]."""
    rng = np.random.default_rng(seed)
    labels_NF = (rng.random((images, 14)) < 0.3).astype(np.float64)
    sigma_S = np.array([1.6, 1.4, 1.1])
    seen_NFS = (2 * labels_NF[..., None] - 1) + rng.normal(0, 1, (images, 14, 3)) * sigma_S
    # The log odds that follow from what each scale has seen: calibrated, so that averaging helps and the
    # best weights lie inside the simplex.
    logits_NFS = 2 * seen_NFS / sigma_S**2 + np.log(0.3 / 0.7)
    return logits_NFS, labels_NF


def by_lbfgs(logits_NFS: np.ndarray, labels_NF: np.ndarray) -> tuple[np.ndarray, float]:
    """The same minimum, found by another optimiser on the plain formula."""
    v_FS = torch.zeros(logits_NFS.shape[1:], dtype=torch.float64, requires_grad=True)
    probabilities_NFS, labels = torch.from_numpy(stack.sigmoid(logits_NFS)), torch.from_numpy(labels_NF)
    optimiser = torch.optim.LBFGS([v_FS], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        p_NF = (v_FS.softmax(-1) * probabilities_NFS).sum(-1)
        value = torch.nn.functional.binary_cross_entropy(p_NF, labels)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return v_FS.detach().softmax(-1).numpy(), float(loss().detach())


def test_the_fit_agrees_with_an_independent_optimiser() -> None:
    logits_NFS, labels_NF = opinions()
    fit = fit_stack(logits_NFS, labels_NF, StackConfig())
    weights_FS, loss = by_lbfgs(logits_NFS, labels_NF)
    assert fit.converged
    assert fit.loss == pytest.approx(loss, abs=2e-4)
    np.testing.assert_allclose(fit.weights_FS, weights_FS, atol=0.06)


def test_the_better_scale_gets_the_larger_weight_and_rows_sum_to_one() -> None:
    logits_NFS, labels_NF = opinions()
    weights_FS = fit_stack(logits_NFS, labels_NF, StackConfig()).weights_FS
    assert (weights_FS.argmax(-1) == 2).all()
    np.testing.assert_allclose(weights_FS.sum(-1), 1, atol=1e-12)


def test_no_epoch_is_voting() -> None:
    logits_NFS, labels_NF = opinions()
    weights_FS = fit_stack(logits_NFS, labels_NF, StackConfig(epochs=0)).weights_FS
    np.testing.assert_allclose(weights_FS, 1 / 3)


def test_the_loss_is_finite_where_probabilities_round_to_one() -> None:
    logits_NFS = torch.full((2, 14, 3), 800.0, dtype=torch.float64)
    v_FS = torch.zeros(14, 3, dtype=torch.float64, requires_grad=True)
    loss = stack_loss(logits_NFS, torch.zeros(2, 14, dtype=torch.float64), v_FS)
    assert loss.item() == pytest.approx(800)
