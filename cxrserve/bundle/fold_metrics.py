"""Figures over all folds and seeds of the run that made a bundle."""

from __future__ import annotations

from pydantic import Field

from cxrserve.schema import Strict


class FoldMetrics(Strict):
    """AUC over the folds and seeds of a run, each measured on the test images of its fold.

    The bundle itself is of one of them. A cell is null where fewer than two folds have a value.
    """

    count: int = Field(ge=2, description="Folds times seeds.")
    mean: dict[str, dict[str, float | None]] = Field(
        description='By finding and column: one value a scale, "voting" and "stack".'
    )
    deviation: dict[str, dict[str, float | None]] = Field(
        description="Standard deviation (n − 1) over the folds, likewise."
    )
