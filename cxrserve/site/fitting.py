"""Calibrations of one site: fitted on half of the patients, adopted where the other half shows a gain.

Legend: N films, F findings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.adopted_site import Outcome
from cxrserve.bundle.calibration import Calibration
from cxrserve.ensemble.calibration import MIN_EVENTS, fit

Floats = NDArray[np.float64]
MIN_FILMS: Final = 50  # fewer labelled films adopt nothing
_WEAK_EVENTS: Final = 20


def fitting_half(patients: Sequence[str]) -> NDArray[np.bool_]:
    """True for the films of every second patient, in the order of a hash: the same half at every run."""
    ordered = sorted(set(patients), key=lambda name: hashlib.sha256(name.encode()).digest())
    fitting = set(ordered[::2])
    return np.array([patient in fitting for patient in patients], bool)


def fit_finding(
    finding: str,
    scores_N: Floats,
    labels_N: Floats,
    patients: Sequence[str],
    before: Calibration,
    data: str,
) -> tuple[Calibration | None, Outcome]:
    """The calibration to adopt, or None, with the reason.

    A logistic map after the bundle's own calibration is fitted, with the ridge of few labels: it changes
    nothing unless the films say so. It is adopted if the checking half's log loss falls by more than one
    standard error; then it is fitted once more on all films.
    """
    known_N = ~np.isnan(labels_N) & ~np.isnan(scores_N)
    scores_N, positive_N = scores_N[known_N], labels_N[known_N] == 1
    kept = [patient for patient, known in zip(patients, known_N, strict=True) if known]
    events = int(positive_N.sum())

    def outcome(
        why: str,
        *,
        adopted: bool = False,
        checked: int = 0,
        losses: tuple[float | None, float | None] = (None, None),
    ) -> Outcome:
        return Outcome(
            finding=finding,
            adopted=adopted,
            why=why,
            films=len(scores_N),
            patients=len(set(kept)),
            events=events,
            checked_films=checked,
            log_loss_before=losses[0],
            log_loss_after=losses[1],
        )

    if len(scores_N) < MIN_FILMS:
        return None, outcome(f"{len(scores_N)} labelled films; at least {MIN_FILMS} are needed")
    half_N = fitting_half(kept)
    smallest = min(
        int((positive_N[half] == sign).sum()) for half in (half_N, ~half_N) for sign in (True, False)
    )
    if smallest < MIN_EVENTS:
        return None, outcome(
            f"{events} films with the finding and {len(scores_N) - events} without: each half of the "
            f"patients needs {MIN_EVENTS} of both"
        )
    tried = fit(scores_N[half_N], positive_N[half_N], data=data, before=before)
    losses_before = _losses(before.apply(scores_N[~half_N]), positive_N[~half_N])
    losses_after = _losses(tried.apply(scores_N[~half_N]), positive_N[~half_N])
    gains = losses_before - losses_after
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    losses = (float(losses_before.mean()), float(losses_after.mean()))
    if gain <= error:
        return None, outcome(
            f"log loss of the checking half falls by {gain:.4f}, which is no more than its standard error of "
            f"{error:.4f}",
            checked=len(gains),
            losses=losses,
        )
    weak = f"; weak, with {events} films that show the finding" if events < _WEAK_EVENTS else ""
    return fit(scores_N, positive_N, data=data, before=before), outcome(
        f"log loss of the checking half falls by {gain:.4f} (standard error {error:.4f}){weak}",
        adopted=True,
        checked=len(gains),
        losses=losses,
    )


def _losses(probabilities_N: Floats, positive_N: NDArray[np.bool_]) -> Floats:
    """The log loss of each film, in nats."""
    clipped_N = np.clip(probabilities_N, 1e-12, 1 - 1e-12)
    return np.asarray(-np.log(np.where(positive_N, clipped_N, 1 - clipped_N)))
