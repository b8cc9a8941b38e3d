"""Operating points for a target, whose lower bound on the site's films reaches it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.operating_point import MeasuredShare, OperatingPoint, Target
from cxrserve.bundle.threshold_counts import threshold_counts
from cxrserve.errors import RequestError
from cxrserve.findings import INDEX, NAMES

Floats = NDArray[np.float64]
_Measure = Literal["sensitivity", "specificity", "ppv", "npv"]
_TAIL: Final = 0.025


def parse_target(text: str) -> tuple[int, Target]:
    """The finding and target of `Finding:sensitivity=0.95`.

    Raises:
        RequestError: not of this form.
    """
    finding, _, rest = text.partition(":")
    kind, _, value = rest.partition("=")
    try:
        if kind == "sensitivity" or kind == "specificity":
            return INDEX[finding.strip()], Target(kind=kind, value=float(value))
    except (KeyError, ValueError):
        pass
    raise RequestError(
        f"--target {text[:60]!r}: write FINDING:sensitivity=0.95 or FINDING:specificity=0.95, FINDING one of "
        f"{', '.join(NAMES)}"
    )


def point_for(target: Target, probabilities_N: Floats, labels_N: Floats, data: str) -> OperatingPoint:
    """The operating point farthest from "everything" that reaches the target with its lower 95 % bound.

    Sensitivity falls and specificity rises with the threshold, so the thresholds are tested in that order
    until one fails (fixed-sequence testing): the chosen one misses the target with a probability of at most
    2.5 %, although it was chosen on these films.

    Args:
        probabilities_N, labels_N: calibrated probabilities, and labels 1 and 0.

    Raises:
        RequestError: no threshold's lower bound reaches the target; shows both numbers.
    """
    goal = target.value or 0.0
    positive_N = labels_N == 1
    of_target_N = positive_N if target.kind == "sensitivity" else ~positive_N
    right = _fewest(goal, int(of_target_N.sum()))
    if right is None:
        total = int(of_target_N.sum())
        best = share(total, total).low if total else 0.0
        raise RequestError(
            f"{target} cannot be shown with {total} films "
            f"{'with' if target.kind == 'sensitivity' else 'without'} the finding: even if all are right, "
            f"the lower 95 % bound is {best:.3f}, below {goal:g}. Label more films, or lower the target."
        )
    ordered = np.sort(probabilities_N[of_target_N])
    threshold = (
        float(ordered[len(ordered) - right])
        if target.kind == "sensitivity"
        else min(float(np.nextafter(ordered[right - 1], 2.0)), 1.0)
    )
    decided_N = probabilities_N >= threshold
    hits, misses = int((decided_N & positive_N).sum()), int((~decided_N & positive_N).sum())
    alarms, passes = int((decided_N & ~positive_N).sum()), int((~decided_N & ~positive_N).sum())
    counts: dict[_Measure, tuple[int, int]] = {
        "sensitivity": (hits, hits + misses),
        "specificity": (passes, passes + alarms),
        "ppv": (hits, hits + alarms),
        "npv": (passes, passes + misses),
    }
    return OperatingPoint(
        threshold=threshold,
        sensitivity=hits / (hits + misses) if hits + misses else None,
        specificity=passes / (passes + alarms) if passes + alarms else None,
        chosen_for=str(target),
        data=data,
        target=target,
        unit="images",
        events=hits + misses,
        non_events=alarms + passes,
        measured={name: share(count, total) for name, (count, total) in counts.items() if total},
        curve=threshold_counts(probabilities_N, positive_N, threshold, decided_N),
    )


def _fewest(goal: float, total: int) -> int | None:
    """The fewest of `total` that must be right for a lower bound of `goal`; None if all do not suffice."""
    low, high = 0, total + 1
    while low < high:
        middle = (low + high) // 2
        if middle <= total and total and share(middle, total).low < goal:
            low = middle + 1
        else:
            high = middle
    return low if 0 < low <= total else None


@lru_cache(maxsize=4096)
def share(count: int, total: int) -> MeasuredShare:
    """A share with its 95 % interval by Clopper and Pearson."""
    return MeasuredShare(
        value=count / total,
        low=lower_bound(count, total, _TAIL),
        high=upper_bound(count, total, _TAIL),
        count=count,
        total=total,
    )


def lower_bound(count: int, total: int, tail: float) -> float:
    """The lower bound of a share by Clopper and Pearson, missed with a probability of at most `tail`."""
    return 0.0 if count == 0 else _bound(count, total, tail, lower=True)


def upper_bound(count: int, total: int, tail: float) -> float:
    """The upper bound, likewise."""
    return 1.0 if count == total else _bound(count, total, tail, lower=False)


def _bound(count: int, total: int, tail: float, *, lower: bool) -> float:
    """The share at which so extreme a count has the probability `tail`, by bisection."""
    numbers = range(count, total + 1) if lower else range(count + 1)
    logs = [math.lgamma(total + 1) - math.lgamma(n + 1) - math.lgamma(total - n + 1) for n in numbers]
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        probability = sum(
            math.exp(log + n * math.log(middle) + (total - n) * math.log1p(-middle))
            for n, log in zip(numbers, logs, strict=True)
        )
        if (probability < tail) == lower:
            low = middle
        else:
            high = middle
    return (low + high) / 2
