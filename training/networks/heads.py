"""The published heads, each with its Grad-CAM in closed form: no gradient is taken when it is served.

The unit of every map is one: Grad-CAM's weights (the gradient of the logit by each activation, averaged over
the h·w cells) times the features, times h·w. For the linear head that is Σ_k w_fk A_k, whose mean plus the
bias is the logit. Grad-CAM itself is the ReLU of it.

Legend: N images, F findings, K channels of the last features, P = 2K pooled values, M hidden values, h and w
their height and width in cells.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from cxrserve.findings import NAMES
from training.networks.base import Head, MapHead, Output

# Hidden values of fastai's head, which Chizari used.
HIDDEN: Final = 512
CHIZARI_DROPOUT: Final = 0.6


class LinearHead(MapHead):
    """Average pooling, dropout and one linear layer, starting from `linear`'s weights.

    Dropout of a pooled channel is dropout of the whole channel before pooling, since each is a multiple of
    the other; so the maps' means stay the logits while training, too.
    """

    def __init__(self, linear: nn.Linear, *, dropout: float = 0.0) -> None:
        super().__init__(linear.in_features, 1, gain=False)
        self.dropout = nn.Dropout2d(dropout)
        with torch.no_grad():
            self.project.weight.copy_(linear.weight[:, :, None, None])
            self.bias.copy_(linear.bias)

    def evidence(self, features_NKhw: Tensor) -> Tensor:
        return super().evidence(self.dropout(features_NKhw))


class ConcatHead(Head):
    """Average and maximum pooling side by side, then two linear layers: Chizari's head.

    The paper names the concatenation, the two layers, the dropout and Kaiming's start. The order of the rest
    (batch normalisation, half the dropout, linear, ReLU, batch normalisation, dropout, linear) is that of
    fastai's `create_head`, which it used.

    Grad-CAM: in evaluation mode, with pooled values p and hidden values h = W₁p′, every step but the ReLU is
    affine, so ∂logit_f/∂p = Σ_m W₂_fm [h_m > 0] W₁_m· (with the normalisations' scales). A cell's share of
    its channel's average is 1/(h·w); of the maximum, all of it goes to one cell. Averaged over the cells and
    times h·w, a channel's weight is therefore the sum of its two slopes, average and maximum:

        map_f = Σ_k (∂logit_f/∂average_k + ∂logit_f/∂maximum_k) A_k

    The head is piecewise linear, so logit_f = c_f + mean(map_f) + Σ_k ∂logit_f/∂maximum_k (maximum_k −
    average_k): the last sum is what peaks add, and c_f what biases and normalisations add, which depends on
    the hidden values that are on. Mean of the map plus `bias` is thus not the logit, as it is for a linear
    head. While training (dropout, statistics of the batch) the maps are approximate.
    """

    def __init__(self, channels: int, *, dropout: float = CHIZARI_DROPOUT) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm1d(2 * channels), nn.Dropout(dropout / 2))
        self.hidden = nn.Linear(2 * channels, HIDDEN, bias=False)
        self.between = nn.Sequential(nn.BatchNorm1d(HIDDEN), nn.Dropout(dropout))
        self.last = nn.Linear(HIDDEN, len(NAMES), bias=False)
        self.bias = nn.Parameter(torch.zeros(len(NAMES)))
        self.log_gain = nn.Parameter(torch.zeros(len(NAMES)), requires_grad=False)
        for layer in (self.hidden, self.last):
            nn.init.kaiming_normal_(layer.weight)

    def evidence(self, features_NKhw: Tensor) -> Tensor:
        """The features themselves: nothing is decided before pooling."""
        return features_NKhw

    def output(self, evidence_NEhw: Tensor) -> Output:
        features_NKhw = evidence_NEhw.float()
        pooled_NP = torch.cat([features_NKhw.mean((2, 3)), features_NKhw.amax((2, 3))], 1)
        hidden_NM = self.hidden(self.before(pooled_NP)).relu()
        gain_F = self.log_gain.exp()
        logits_NF = self.last(self.between(hidden_NM)).float() * gain_F + self.bias
        weights_NFK = self._channel_weights(hidden_NM > 0) * gain_F[:, None]
        return Output(logits_NF, torch.einsum("nfk,nkhw->nfhw", weights_NFK, features_NKhw).float())

    def _channel_weights(self, active_NM: Tensor) -> Tensor:
        """Slope of each logit by each channel's average, plus that by its maximum: [N, 14, K]."""
        average_MK, maximum_MK = (self.hidden.weight * _scale(self.before[0])).chunk(2, 1)
        last_FM = self.last.weight * _scale(self.between[0])
        return (active_NM[:, None].float() * last_FM) @ (average_MK + maximum_MK)

    @torch.no_grad()
    def fold_gain(self) -> None:
        self.last.weight.mul_(self.log_gain.exp()[:, None])
        self.log_gain.zero_()


def _scale(norm: nn.Module) -> Tensor:
    """The factor that a batch normalisation in evaluation mode multiplies each value by."""
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_var is not None
    return norm.weight / (norm.running_var + norm.eps).sqrt()
