"""Pairs of thresholds for rule-out and rule-in, with bounds that hold on the site's films.

Below `rule_out` a finding is absent, from `rule_in` on it is present, and between them it is undecided. Each
bound holds with a probability of at least 95 % over the films that it was measured on:

- rule-out: the missed share of the positives rises with the threshold, so thresholds are tested in that order
  until the upper bound of Clopper and Pearson passes the wish (fixed-sequence testing; Angelopoulos and
  others 2021, Learn then Test). At most 5 % missed needs 59 positives, 2 % needs 149, 1 % needs 299.
- rule-in: the share of positives among the flagged films need not rise with the threshold, so a few fixed
  thresholds are tested, each with its part of the 5 % (Bonferroni), and the lowest that passes is taken.

The thresholds tested are probabilities of the bundle's own calibration, which no film of the site has moved.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.operating_point import DecisionPair
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES
from cxrserve.site.points import lower_bound, upper_bound

Floats = NDArray[np.float64]
CONFIDENCE: Final = 0.95
_TAIL: Final = 1 - CONFIDENCE
# Probabilities that a rule-in is tested at: odds from 1 to 30 up to 30 to 1.
_RULE_INS: Final = (1 / (1 + np.exp(-np.linspace(-3.4, 3.4, 18)))).tolist()


class PairWish(NamedTuple):
    """At most `missed` of the positives below rule-out, at least `ppv` positives from rule-in on."""

    missed: float
    ppv: float


def parse_pair(text: str) -> tuple[int, PairWish]:
    """The finding and wish of `Finding:missed=0.05,ppv=0.5`.

    Raises:
        RequestError: not of this form.
    """
    finding, _, rest = text.partition(":")
    values = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    try:
        if values.keys() == {"missed", "ppv"}:
            wish = PairWish(float(values["missed"]), float(values["ppv"]))
            if 0 < wish.missed < 1 and 0 < wish.ppv < 1:
                return INDEX[finding.strip()], wish
    except (KeyError, ValueError):
        pass
    raise RequestError(
        f"--pair {text[:60]!r}: write FINDING:missed=0.05,ppv=0.5, both between 0 and 1, FINDING one of "
        f"{', '.join(NAMES)}"
    )


def pair_for(wish: PairWish, probabilities_N: Floats, labels_N: Floats, data: str) -> DecisionPair:
    """The pair that leaves least undecided among those whose bounds hold.

    Args:
        probabilities_N, labels_N: probabilities of the bundle's own calibration, and labels 1 and 0.

    Raises:
        RequestError: no threshold reaches one of the bounds; shows the numbers.
    """
    positive_N = labels_N == 1
    rule_in = _rule_in(wish.ppv, probabilities_N, positive_N)
    # A rule-out that lies lower misses no more; so the two never cross.
    rule_out = min(_rule_out(wish.missed, probabilities_N[positive_N]), rule_in)
    between_N = (probabilities_N >= rule_out) & (probabilities_N < rule_in)
    return DecisionPair(
        rule_out=rule_out,
        rule_in=rule_in,
        missed=wish.missed,
        ppv=wish.ppv,
        confidence=CONFIDENCE,
        events=int(positive_N.sum()),
        non_events=int((~positive_N).sum()),
        undecided=float(between_N.mean()),
        data=data,
    )


def _rule_out(missed: float, positives_P: Floats) -> float:
    events = len(positives_P)
    if not events or upper_bound(0, events, _TAIL) > missed:
        needed = next(n for n in range(1, 100_000) if upper_bound(0, n, _TAIL) <= missed)
        raise RequestError(
            f"at most {missed:g} missed cannot be shown with {events} films with the finding: even with none "
            f"missed it needs {needed}. Label more films, or allow more to be missed."
        )
    allowed = 0
    while allowed + 1 < events and upper_bound(allowed + 1, events, _TAIL) <= missed:
        allowed += 1
    return float(np.sort(positives_P)[allowed])


def _rule_in(ppv: float, probabilities_N: Floats, positive_N: NDArray[np.bool_]) -> float:
    best = 0.0
    for threshold in _RULE_INS:
        flagged_N = probabilities_N >= threshold
        flagged, hits = int(flagged_N.sum()), int((flagged_N & positive_N).sum())
        bound = lower_bound(hits, flagged, _TAIL / len(_RULE_INS)) if flagged else 0.0
        if bound >= ppv:
            return float(threshold)
        best = max(best, bound)
    raise RequestError(
        f"a PPV of at least {ppv:g} cannot be shown: at the best of {len(_RULE_INS)} thresholds the lower "
        f"bound is {best:.3f}. Label more films, or lower it."
    )
