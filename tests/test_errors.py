"""Tests of the error tree: complete, and each error says what happened."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

from cxrserve import errors

ROOT = Path(__file__).parents[1]


class Node(NamedTuple):
    """An error class: its parent's name, and its HTTP status where it has one of its own."""

    parent: str
    http_status: int | None


def _in_the_source() -> dict[str, Node]:
    """All subclasses of CxrserveError in both packages, found without importing (no torch, no GPU)."""
    classes: dict[str, Node] = {}
    for package in ("cxrserve", "training"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(statement, ast.ClassDef):
                    for base in statement.bases:
                        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
                        classes.setdefault(statement.name, Node(name, _status(statement)))
    tree = {"CxrserveError"}
    while more := {name for name, node in classes.items() if node.parent in tree} - tree:
        tree |= more
    return {name: node for name, node in classes.items() if node.parent in tree}


def _status(definition: ast.ClassDef) -> int | None:
    for statement in definition.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "http_status":
            return int(ast.literal_eval(statement.value))
    return None


def _in_the_docstring() -> dict[str, Node]:
    """The tree as the docstring draws it."""
    nodes: dict[str, Node] = {}
    path = ["CxrserveError"]
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.fullmatch(r"([│ ]*)[├└]── (\w+)(?: +(\d{3}))?(?: .*)?", line):
            depth = len(drawn[1]) // 4 + 1
            path[depth:] = [drawn[2]]
            nodes[drawn[2]] = Node(path[depth - 1], int(drawn[3]) if drawn[3] else None)
    return nodes


def test_the_tree_in_the_docstring_is_complete() -> None:
    """Every subclass stands in the tree, under its parent."""
    drawn, defined = _in_the_docstring(), _in_the_source()
    assert {name: node.parent for name, node in drawn.items()} == {
        name: node.parent for name, node in defined.items()
    }


def test_the_statuses_in_the_docstring_hold() -> None:
    drawn, defined = _in_the_docstring(), _in_the_source()
    for name, node in defined.items():
        if node.http_status is not None:
            assert drawn[name].http_status == node.http_status, name


def test_stopping_is_told_apart_from_starting() -> None:
    """A client or an operator must not read "starting" from a service that stops."""
    starting, stopping = errors.NotReady("x"), errors.Stopping("x")
    assert (starting.slug, stopping.slug) == ("not-ready", "stopping")
    assert (starting.http_status, stopping.http_status) == (503, 503)
    assert not isinstance(stopping, errors.NotReady)
    assert "starting" in starting.title
    assert "stopping" in stopping.title
