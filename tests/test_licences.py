"""Every distribution that cxrserve installs has a licence that allows it: permissive or weak copyleft."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ALLOWED = re.compile(
    r"apache|\bmit\b|\bbsd\b|bsd-|isc|psf|python software foundation|mpl-?2|mozilla public license 2|"
    r"hpnd|unlicense|zlib|0bsd|cnri|mit-cmu",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"\b[al]?gpl|general public license", re.IGNORECASE)


def _name(raw: str) -> str:
    return re.sub(r"[-_.]+", "-", raw).lower()


def installed_with(extra: str) -> dict[str, Distribution]:
    """Every distribution that `pip install cxrserve[extra]` brings, by name; extra "" is the base install."""
    found: dict[str, Distribution] = {}
    todo = [("cxrserve", extra)]
    while todo:
        name, wanted = todo.pop()
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
                continue
            key = _name(requirement.name)
            if key in found or key == "cxrserve":
                todo += [(key, inner) for inner in requirement.extras if key == "cxrserve"]
                continue
            try:
                found[key] = distribution(key)
            except PackageNotFoundError:
                continue
            todo += [(key, ""), *((key, inner) for inner in requirement.extras)]
    return found


def licence(dist: Distribution) -> str:
    """What the distribution says of its licence."""
    metadata = dist.metadata
    if metadata["License-Expression"]:
        return str(metadata["License-Expression"])
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    first_line = (metadata["License"] or "").strip().partition("\n")[0]
    return "; ".join([*classifiers, first_line])


def test_serving_is_a_small_set() -> None:
    names = installed_with("")
    assert "fastapi" in names
    assert not {"torch", "torchvision", "timm", "lightning", "onnx", "pylibjpeg-libjpeg"} & set(names)


@pytest.mark.parametrize("extra", ["", "train"])
def test_every_licence_allows_it(extra: str) -> None:
    doubtful = {}
    for name, dist in installed_with(extra).items():
        said = licence(dist)
        ours_alone = name.startswith(("nvidia-", "cuda-"))  # NVIDIA's own runtime, which torch brings
        if not ours_alone and (FORBIDDEN.search(said) or not ALLOWED.search(said)):
            doubtful[name] = said
    assert not doubtful


def test_the_project_is_apache() -> None:
    root = Path(__file__).resolve().parents[1]
    assert "Apache License" in (root / "LICENSE").read_text()
    assert distribution("cxrserve").metadata["License-Expression"] == "Apache-2.0"
