"""The numbers of one film for the watch, from its preparation, the film check's look and its prediction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.predictor import Prediction
from cxrserve.film_check.look import Look
from cxrserve.findings import NAMES
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.watch.group import OTHER, Observation
from cxrserve.watch.streams import INDEX, STREAMS, finding_stream

_CERTAIN_ENOUGH = 0.5
_MAX_LOG_ODDS = 12.0
_VIEWS = {"PA": "PA", "AP": "AP", "LL": "lateral", "RL": "lateral", "LATERAL": "lateral"}


def observation(
    *,
    station: str = OTHER,
    image: PreparedImage | None = None,
    look: Look | None = None,
    prediction: Prediction | None = None,
    refused: bool = False,
) -> Observation:
    """The observation of one film; values that are not known are NaN.

    Args:
        station: a name of the site file, or "other".
    """
    values_S = np.full(len(STREAMS), np.nan)
    values_S[INDEX["refused"]] = refused
    if image is not None:
        values_S[INDEX["pixels"]] = math.log(image.about.rows * image.about.columns)
        if (grey := image.grey) is not None:
            for name, value in (
                ("grey-median", grey.median),
                ("grey-spread", grey.spread),
                ("grey-low-end", grey.low_end),
                ("grey-high-end", grey.high_end),
            ):
                values_S[INDEX[name]] = value
    if look is not None:
        values_S[INDEX["distance"]] = math.log1p(min(look.distances.values()))
        values_S[INDEX["turned"]] = look.quarters != 0 and look.quarters_probability >= _CERTAIN_ENOUGH
        values_S[INDEX["inverted"]] = look.inverted_probability >= _CERTAIN_ENOUGH
    view = _view(image, look)
    values_S[INDEX["lateral"]] = np.nan if view == OTHER else view == "lateral"
    probabilities_F = np.full(len(NAMES), np.nan)
    positive_F = np.zeros(len(NAMES), bool)
    if prediction is not None:
        probabilities_F = prediction.probabilities_F
        positive_F = prediction.positive_F
        # Of scores: a site file's calibration changes no score, so its reference, drafted with the bundle
        # alone, holds for the films that the service reads with it.
        values_S[[INDEX[finding_stream(name)] for name in NAMES]] = _log_odds(prediction.scores_F)
    return Observation(
        station=station, view=view, values_S=values_S, probabilities_F=probabilities_F, positive_F=positive_F
    )


def _log_odds(scores_F: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        odds_F = np.log(scores_F) - np.log1p(-scores_F)
    return np.asarray(np.clip(odds_F, -_MAX_LOG_ODDS, _MAX_LOG_ODDS))


def _view(image: PreparedImage | None, look: Look | None) -> str:
    """The view that the header names, else the one that the film check sees; "other" where neither says."""
    declared = _VIEWS.get((image.about.view_position or "").upper()) if image is not None else None
    if declared is not None:
        return declared
    if look is not None and look.view is not None and look.view_probability >= _CERTAIN_ENOUGH:
        return look.view
    return OTHER
