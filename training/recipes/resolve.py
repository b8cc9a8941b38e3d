"""Resolution of a recipe: its name and the values that were set give the recipe that is run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from cxrserve.imaging.pyramid import Preprocessing
from training.recipes import Recipe, recipe
from training.recipes.overrides import OverrideError, override

_SIZES = "preprocessing.sizes"


def resolve(name: str, assignments: Sequence[str] = ()) -> Recipe:
    """The recipe `name` with every "key=value" of `assignments` set.

    With other sizes, each new size is fitted as the recipe's nearest one, and can be set after that.

    Raises:
        ValueError: no such recipe or key, a value of the wrong type, or parts that contradict each other.
    """
    chosen = recipe(name)
    # Sizes first: what is said about the fit of a size holds for the sizes that there will be.
    sizes = [item for item in assignments if item.partition("=")[0].strip() == _SIZES]
    remaining = [item for item in assignments if item not in sizes]
    for assignment in sizes:
        chosen = _resized(chosen, assignment)
    return override(chosen, remaining)


def _resized(chosen: Recipe, assignment: str) -> Recipe:
    preprocessing = override(_Box(chosen.preprocessing), [assignment]).preprocessing
    sizes = preprocessing.sizes
    if list(sizes) != sorted(set(sizes)):
        raise OverrideError(f"--set {assignment}: sizes ascend, and each stands there once")
    fits = {size: chosen.fits[min(chosen.fits, key=lambda own: abs(math.log(own / size)))] for size in sizes}
    return dataclasses.replace(chosen, preprocessing=preprocessing, fits=fits)


@dataclasses.dataclass(frozen=True, slots=True)
class _Box:
    """The one field that is set by itself: a whole recipe whose sizes differ from its fits refuses to be."""

    preprocessing: Preprocessing
