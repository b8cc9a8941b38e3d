"""Tables of `tests.benchmarks.probabilities`: calibration error, AUC beside voting and each scale, heatmaps.

Legend: N phantoms, F findings, S scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.bundle.contract import Contract, read_contract
from cxrserve.ensemble.calibration import log_loss
from cxrserve.ensemble.heatmap import to_grey
from cxrserve.ensemble.stack import voted
from cxrserve.findings import INDEX, NAMES
from cxrserve.reports.ranking import difference_interval, placements
from training.calibration.error import Estimate, error_interval, slope_and_intercept

Stored = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float64]
# Draws of a perfect model.
_DRAWS: Final = 15
# Share of full strength from which a heatmap counts as visible, and below which as dark.
VISIBLE: Final = 0.2


def print_tables(paths: list[Path], bundle: Path | None) -> None:
    """Print the tables of each file that `score` wrote.

    Args:
        bundle: that was scored. Its members' calibrations are undone for voting and single scales, which
            are then of the networks' own probabilities; without it they are of the logits as they are
            stacked.
    """
    for path in paths:
        with np.load(path) as stored:
            table = {key: stored[key] for key in stored.files}
        if bundle:
            table["logit"] = _of_networks(table["logit"], read_contract(bundle)[0])
        print(f"\n{path.stem}: {len(table['seed'])} phantoms, {len(table['refused_seeds'])} refused\n")
        _print_calibration(table)
        _print_ranking(table)
        _print_heatmaps(table)


def _of_networks(logits_NFS: Floats, contract: Contract) -> Floats:
    """Logits as the networks gave them, before the calibration of their member."""
    raw_NFS = logits_NFS.copy()
    for scale, member in enumerate(contract.members):
        for name, calibration in member.calibration.items():
            column = (..., INDEX[name], scale)
            raw_NFS[column] = (logits_NFS[column] - calibration.intercept) / calibration.slope
    return raw_NFS


def _print_calibration(table: Stored) -> None:
    """Error and slope with intervals, what a perfect model would get, and log loss before and after."""
    print(
        "| finding | events | calibration error | upper bound of a perfect model | slope | log loss of score "
        "| of probability |"
    )
    print("|---|---|---|---|---|---|---|")
    patient_N, losses = np.arange(len(table["seed"])), []
    for index, name in enumerate(NAMES):
        positive_N, said_N = table["labels"][:, index] > 0.5, table["probability"][:, index]
        error = error_interval(said_N, positive_N, patient_N)
        slope, _ = slope_and_intercept(said_N, positive_N)
        losses.append([log_loss(table[key][:, index], positive_N) for key in ("score", "probability")])
        before, after = losses[-1]
        print(
            f"| {name} | {positive_N.sum()} | {_words(error, 3)} | {_perfect_bound(said_N):.3f} "
            f"| {_words(slope, 2)} | {before:.4f} | {after:.4f} |"
        )
    before, after = np.mean(losses, axis=0)
    print(f"| **mean** | | | | | {before:.4f} | {after:.4f} |\n")


def _perfect_bound(said_N: Floats) -> float:
    """Median upper bound of the error over draws in which the probabilities are exactly true."""
    random, patient_N = np.random.default_rng(0), np.arange(len(said_N))
    return float(
        np.median(
            [
                error_interval(said_N, random.random(len(said_N)) < said_N, patient_N, seed=draw).high
                for draw in range(_DRAWS)
            ]
        )
    )


def _words(estimate: Estimate, digits: int) -> str:
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _print_ranking(table: Stored) -> None:
    print("| finding | AUC stack | less voting | less best scale |")
    print("|---|---|---|---|")
    means = []
    for index, name in enumerate(NAMES):
        positive_N, logits_NS = table["labels"][:, index] > 0.5, table["logit"][:, index]
        stack = placements(table["score"][:, index], positive_N)
        voting = placements(voted(logits_NS[:, None])[:, 0], positive_N)
        scales = [placements(logits_N, positive_N) for logits_N in logits_NS.T]
        assert stack is not None
        assert voting is not None
        best = max((scale for scale in scales if scale is not None), key=lambda scale: scale.auc)
        gaps = [difference_interval(stack, other) for other in (voting, best)]
        words = [f"{gap.value:+.4f} ({gap.low or 0:+.4f} to {gap.high or 0:+.4f})" for gap in gaps]
        print(f"| {name} | {stack.auc:.4f} | {' | '.join(words)} |")
        means.append([stack.auc, voting.auc, best.auc])
    stack_mean, *others = np.mean(means, axis=0)
    gaps_of_means = " | ".join(f"{stack_mean - other:+.4f}" for other in others)
    print(f"| **mean** | {stack_mean:.4f} | {gaps_of_means} |")


def _print_heatmaps(table: Stored) -> None:
    strength_NF = np.array(
        [
            [
                to_grey(np.array([[value]], np.float32), full, "square-root" if root else "linear")[0, 0]
                for value, full, root in zip(*row, strict=True)
            ]
            for row in zip(table["map"], table["full"], table["root"], strict=True)
        ]
    )
    shown_NF = strength_NF >= VISIBLE * 255
    present_NF, counted_F = table["labels"] > 0.5, np.arange(len(NAMES)) != INDEX["No Finding"]
    found = shown_NF[present_NF & (table["positive"] > 0) & counted_F]
    absent = ~shown_NF[~present_NF & counted_F]
    print(
        f"\nfound positives with a strength of {VISIBLE} or more: {100 * found.mean():.1f} % of {len(found)}"
    )
    print(f"absent findings below {VISIBLE}: {100 * absent.mean():.1f} % of {len(absent)}")
