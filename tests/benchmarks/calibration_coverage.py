"""The share of intervals of the debiased calibration error that hold the truth, over many drawn models.

    python -m tests.benchmarks.calibration_coverage --runs 1000 --processes 2

A run draws 3,000 films with known probabilities, states them moved by a shift of the logit, and asks whether
the 95 % interval of the error holds the true root mean square gap, and the interval of the slope its truth.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from cxrserve.ensemble.stack import sigmoid
from cxrserve.site.points import share
from training.calibration.error import debiased_error, error_interval, slope_and_intercept

FILMS: Final = 3000
SHIFTS: Final = (0.0, 0.2, 0.5)


class Run(NamedTuple):
    """One drawn model: the estimate less the truth, and which intervals hold it."""

    off: float
    error_held: bool
    above: bool
    slope_held: bool


def run(seed: int, shift: float, films: int = FILMS) -> Run:
    """Draw one model whose logits are off by `shift`, and judge its films."""
    random = np.random.default_rng((seed, 41))
    logits_N = random.normal(-2, 1.5, films)
    truth_N, stated_N = sigmoid(logits_N), sigmoid(logits_N + shift)
    positive_N = random.random(films) < truth_N
    true_error = float(np.sqrt(np.mean((stated_N - truth_N) ** 2)))
    interval = error_interval(stated_N, positive_N, np.arange(films), seed=seed)
    slope, _ = slope_and_intercept(stated_N, positive_N)
    return Run(
        off=debiased_error(stated_N, positive_N) - true_error,
        error_held=interval.low <= true_error <= interval.high,
        above=interval.low > true_error,
        slope_held=slope.low <= 1 <= slope.high,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    print(
        "| shift of the logit | mean of estimate less truth | error held | interval above it | slope held |"
    )
    print("|---|---|---|---|---|")
    with ProcessPoolExecutor(arguments.processes) as pool:
        for shift in SHIFTS:
            runs = list(pool.map(partial(run, shift=shift), range(arguments.runs), chunksize=8))
            cells = [
                _share([getattr(each, name) for each in runs])
                for name in ("error_held", "above", "slope_held")
            ]
            off = np.array([each.off for each in runs])
            print(f"| {shift:g} | {off.mean():+.4f} | {' | '.join(cells)} |", flush=True)


def _share(held: list[bool]) -> str:
    measured = share(sum(held), len(held))
    return f"{measured.value:.1%} ({measured.low:.1%} to {measured.high:.1%})"


if __name__ == "__main__":
    main()
