"""Every distribution that cxrserve installs has a licence that allows it: permissive or weak copyleft."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ALLOWED = re.compile(
    r"apache|\bmit\b|\bbsd\b|bsd-|\bisc|\bpsf|python software foundation|mpl-?2|mozilla public license 2|"
    r"hpnd|unlicense|zlib|0bsd|cnri|mit-cmu",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"\b[al]?gpl|general public license", re.IGNORECASE)
# The LGPL asks that a user can put another build of the library in its place, and so it is where Python
# imports it by name from site-packages, unchanged. Allowed name by name, each with what brings it.
LGPL = {
    "psycopg": "the PostgreSQL driver of the archive's database",
    "psycopg-binary": "the same driver's part in C, of its extra `binary`",
}
# NVIDIA's own libraries, proprietary and free to use: torch's wheels for GPUs bring them, and the extra `gpu`
# is for machines that run NVIDIA's driver anyway. Nothing in the base install is among them.
NVIDIA = ("nvidia-", "cuda-", "tensorrt")
EXTRAS = ["", *(distribution("cxrserve").metadata.get_all("Provides-Extra") or [])]


def _name(raw: str) -> str:
    return re.sub(r"[-_.]+", "-", raw).lower()


def installed_with(extra: str) -> dict[str, Distribution]:
    """Every distribution that `pip install cxrserve[extra]` brings, by name; extra "" is the base install."""
    found: dict[str, Distribution] = {}
    todo, seen = [("cxrserve", extra)], set[tuple[str, str]]()
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            continue
        if name != "cxrserve":
            found[name] = dist
        for text in dist.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                key = _name(requirement.name)
                todo += [(key, inner) for inner in ("", *requirement.extras)]
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
    names = set(installed_with(""))
    assert "fastapi" in names
    assert not {"torch", "torchvision", "timm", "lightning", "onnx", "pylibjpeg-libjpeg"} & names
    assert not {name for name in names if name.startswith(NVIDIA)}


def test_no_library_for_drift_or_calibration_is_brought() -> None:
    """One has a licence that forbids it (alibi-detect, relplot), others bring dozens more or no guarantee."""
    named = {"alibi-detect", "relplot", "evidently", "nannyml", "frouros", "river", "netcal", "venn-abers"}
    for extra in EXTRAS:
        assert not named & set(installed_with(extra))
    required = {_name(Requirement(text).name) for text in distribution("cxrserve").requires or []}
    assert not named & required


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_licence_allows_it(extra: str) -> None:
    doubtful = {}
    for name, dist in installed_with(extra).items():
        said = licence(dist)
        if name in LGPL:
            assert "LGPL" in said, f"{name} is no longer under the LGPL, but {said}"
        elif not name.startswith(NVIDIA) and (FORBIDDEN.search(said) or not ALLOWED.search(said)):
            doubtful[name] = said
    assert not doubtful


def test_the_walk_reaches_what_the_extras_bring() -> None:
    assert set(LGPL) <= set(installed_with("pacs"))
    assert {"torch", "nncf", "pynetdicom", "torchxrayvision", "playwright"} <= set(installed_with("test"))


def test_the_project_is_apache() -> None:
    root = Path(__file__).resolve().parents[1]
    assert "Apache License" in (root / "LICENSE").read_text()
    assert distribution("cxrserve").metadata["License-Expression"] == "Apache-2.0"
