"""The numbers in which two site files differ, and the decisions that differ on given scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from cxrserve.bundle.contract import Contract
from cxrserve.ensemble.calibration import calibrated, thresholds
from cxrserve.findings import NAMES
from cxrserve.site.file import Site, adopted_contract
from cxrserve.site.films import Floats


class Difference(NamedTuple):
    """One number that differs; "–" where a file does not have it."""

    number: str
    old: str
    new: str


def differences(old: Site, new: Site) -> list[Difference]:
    """Every value that differs, in the order of the files."""
    before, after = dict(_leaves(old.model_dump(mode="json"))), dict(_leaves(new.model_dump(mode="json")))
    return [
        Difference(number, before.get(number, "–"), after.get(number, "–"))
        for number in dict.fromkeys((*before, *after))
        if before.get(number) != after.get(number)
    ]


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "curve" and inner is not None:
                yield f"{path}.curve", _summary(inner)
                continue
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            key = index
            if isinstance(inner, dict):
                key = inner.get("finding") or inner.get("stream") or inner.get("view") or index
                if "station" in inner:
                    key = f"{inner['station']}/{inner['view']}"
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, f"{value:g}" if isinstance(value, float) else str(value)


def _summary(curve: dict[str, list[float]]) -> str:
    """A curve in one line: its hundreds of numbers would bury the others."""
    digest = hashlib.sha256(json.dumps(curve, sort_keys=True).encode()).hexdigest()
    return f"{len(curve['thresholds'])} thresholds, SHA-256 {digest[:12]}"


def changed_decisions(old: Site | None, new: Site, contract: Contract, scores_NF: Floats) -> dict[str, int]:
    """By finding, the number of films on which the decision differs; None is the bundle alone."""
    positive = []
    for site in (old, new):
        numbers = contract if site is None else adopted_contract(contract, site)
        positive.append(calibrated(scores_NF, numbers) >= thresholds(numbers))
    changed_F = (positive[0] != positive[1]).sum(axis=0)
    return {name: int(changed_F[index]) for index, name in enumerate(NAMES)}
