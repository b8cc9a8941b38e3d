"""Tables of `tests.benchmarks.probabilities`: calibration error, AUC beside voting and each scale, heatmaps.

Legend: N phantoms, F findings, S scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cxrserve.ensemble.heatmap import to_grey
from cxrserve.ensemble.stack import voted
from cxrserve.findings import INDEX, NAMES
from cxrserve.reports.ranking import difference_interval, placements
from training.calibration.error import error_interval

Stored = Mapping[str, NDArray[Any]]
# Share of full strength from which a heatmap counts as visible, and below which as dark.
VISIBLE: Final = 0.2


def print_tables(paths: list[Path]) -> None:
    """Print the tables of each file that `score` wrote."""
    for path in paths:
        with np.load(path) as stored:
            table = {key: stored[key] for key in stored.files}
        print(f"\n{path.stem}: {len(table['seed'])} phantoms, {len(table['refused_seeds'])} refused\n")
        _print_probabilities(table)
        _print_heatmaps(table)


def _print_probabilities(table: Stored) -> None:
    print("| finding | events | calibration error | AUC stack | less voting | less best scale |")
    print("|---|---|---|---|---|---|")
    patient_N = np.arange(len(table["seed"]))
    for index, name in enumerate(NAMES):
        positive_N = table["labels"][:, index] > 0.5
        error = error_interval(table["probability"][:, index], positive_N, patient_N)
        logits_NS = table["logit"][:, index]
        stack = placements(table["score"][:, index], positive_N)
        voting = placements(voted(logits_NS[:, None])[:, 0], positive_N)
        scales = [placements(logits_N, positive_N) for logits_N in logits_NS.T]
        assert stack is not None
        assert voting is not None
        best = max((scale for scale in scales if scale is not None), key=lambda scale: scale.auc)
        gaps = [difference_interval(stack, other) for other in (voting, best)]
        words = [f"{gap.value:+.4f} ({gap.low or 0:+.4f} to {gap.high or 0:+.4f})" for gap in gaps]
        print(
            f"| {name} | {positive_N.sum()} | {error.value:.3f} ({error.low:.3f} to {error.high:.3f}) "
            f"| {stack.auc:.4f} | {' | '.join(words)} |"
        )


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
