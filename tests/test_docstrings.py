"""Package docstrings are complete indexes: each names every file and folder of its package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.plain_words import ROOT

PACKAGES = sorted(
    path.parent.relative_to(ROOT)
    for package in ("cxrserve", "training")
    for path in (ROOT / package).rglob("__init__.py")
)


def contents(folder: Path) -> list[str]:
    """Modules and packages in `folder`, as its index names them: `module.py`, `package/`."""
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    packages = [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]
    return sorted(modules + packages)


def named(docstring: str) -> list[str]:
    """The modules, and the packages at the beginning of a line, that `docstring` names without a path."""
    modules = re.findall(r"(?<![\w./])\w+\.py\b", docstring)
    packages = re.findall(r"^\w+/(?=\s)", docstring, re.MULTILINE)
    return sorted({*modules, *packages})


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_names_every_file(package: Path) -> None:
    folder = ROOT / package
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert named(docstring) == contents(folder), "the index in __init__.py and the folder differ"


def test_a_missing_and_a_departed_file_are_seen(tmp_path: Path) -> None:
    for name in ("__init__.py", "node.py", "sub/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert contents(tmp_path) == ["node.py", "sub/"]
    assert named("A package.\n\nnode.py  the node\nsub/     more") == ["node.py", "sub/"]
    assert named("A package; see `node.py`, not sub/other.py.\n\na.py  one; b.py: two") == [
        "a.py",
        "b.py",
        "node.py",
    ]
