"""Counts of images and labels that the papers give for their datasets, and a comparison with a dataset's own.

| recipe | dataset | count | the paper |
|---|---|---|---|
| haque2021, haque2023 | MIMIC-CXR-JPG | 377,110 images, 227,827 studies | Haque et al. 2021, section 3.1 |
| xclassifier, variants | MIMIC-CXR | 356,225 images with a positive label | Monshi et al. 2022, "Datasets" |
| xclassifier, variants | CheXpert | 212,498 images with a positive label | likewise |
| chizari, variants | CheXpert, training part | 58,710 positive and 17,265 negative studies | section 5.1 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Releases differ in some rows, and a file may be damaged: a hundredth is passed over.
TOLERANCE: Final = 0.01
IMAGES, STUDIES = "images", "studies"
POSITIVE, NEGATIVE = "positive training studies", "negative training studies"

_HAQUE: Final = {"mimic": {IMAGES: 377_110, STUDIES: 227_827}}
_XCLASSIFIER: Final = {"mimic": {IMAGES: 356_225}, "chexpert": {IMAGES: 212_498}}
_CHIZARI: Final = {"chexpert": {POSITIVE: 58_710, NEGATIVE: 17_265}}
_PUBLISHED: Final = {"haque": _HAQUE, "xclassifier": _XCLASSIFIER, "chizari": _CHIZARI}


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One count of a dataset beside the paper's."""

    what: str
    here: int
    published: int

    @property
    def differs(self) -> bool:
        """True if the two are further apart than `TOLERANCE`."""
        return abs(self.here - self.published) > TOLERANCE * self.published

    def __str__(self) -> str:
        return f"{self.what}: {self.here:,} here, {self.published:,} in the paper"


def published_counts(recipe: str, source: str) -> Mapping[str, int]:
    """The paper's counts of a dataset of the kind `source` by what is counted; empty if it gives none."""
    family = "mimic" if source.startswith("mimic") else source
    for prefix, by_family in _PUBLISHED.items():
        if recipe.startswith(prefix):
            return by_family.get(family, {})
    return {}


def compare(here: Mapping[str, int], published: Mapping[str, int]) -> list[Compared]:
    """Each published count beside the one here."""
    return [
        Compared(what=what, here=here[what], published=count)
        for what, count in published.items()
        if what in here
    ]
