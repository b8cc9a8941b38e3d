"""The map of a finding's calibration: logistic, unless many labels show that a beta map is better.

Legend: N units (images or studies).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.calibration import Calibration
from cxrserve.ensemble.calibration import RIDGE, fit, fit_beta

Floats = NDArray[np.float64]

# From this many units of the rarer class on the data may say what the slope is; the ridge of a site's few
# labels would hold it near 1.
MANY: Final = 50
RIDGE_OF_MANY: Final = 1.0
# From this many on a third parameter is tried.
ENOUGH_FOR_BETA: Final = 400
_FOLDS: Final = 5


def ridge_for(positive_N: NDArray[np.bool_]) -> float:
    """The ridge of a fit on these labels: `RIDGE` where a class is rare, `RIDGE_OF_MANY` else."""
    return RIDGE if _rarer(positive_N) < MANY else RIDGE_OF_MANY


def chosen_fit(
    scores_N: Floats, positive_N: NDArray[np.bool_], group_N: NDArray[np.int64], *, data: str
) -> Calibration:
    """The logistic map, or the beta map where its log loss is lower by more than one standard error.

    The losses are of units that neither map was fitted on, in five folds over the groups.

    Args:
        scores_N: between 0 and 1, without NaN.
        group_N: equal for units that belong together, such as the images of one study.
        data: the data in words.
    """
    ridge = ridge_for(positive_N)
    if _rarer(positive_N) < ENOUGH_FOR_BETA or not _gains(scores_N, positive_N, group_N, ridge):
        return fit(scores_N, positive_N, data=data, ridge=ridge)
    return fit_beta(scores_N, positive_N, data=data, ridge=ridge)


def _rarer(positive_N: NDArray[np.bool_]) -> int:
    return min(int(positive_N.sum()), int((~positive_N).sum()))


def _gains(scores_N: Floats, positive_N: NDArray[np.bool_], group_N: NDArray[np.int64], ridge: float) -> bool:
    """Whether the mean log loss falls by more than a standard error from the logistic to the beta map."""
    groups = np.random.default_rng(0).permutation(np.unique(group_N))
    gain_N = np.zeros(len(scores_N))
    for fold in range(_FOLDS):
        out_N = np.isin(group_N, groups[fold::_FOLDS])
        kept_N = ~out_N
        maps = (
            fit(scores_N[kept_N], positive_N[kept_N], data="", ridge=ridge),
            fit_beta(scores_N[kept_N], positive_N[kept_N], data="", ridge=ridge),
        )
        sign_N = np.where(positive_N[out_N], -1.0, 1.0)
        logistic_N, beta_N = (np.logaddexp(0, sign_N * each.logits(scores_N[out_N])) for each in maps)
        gain_N[out_N] = logistic_N - beta_N
    return bool(gain_N.mean() > gain_N.std(ddof=1) / np.sqrt(len(gain_N)))
