"""The file of the rules: YAML, read with the line and the key of every fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from cxrserve.archive.callers import Caller
from cxrserve.archive.matching import Match
from cxrserve.archive.peers import (
    DimsePeer,
    FhirPeer,
    Hl7Peer,
    PullServer,
    WebPeer,
    WorkitemCode,
    WorklistPeer,
)
from cxrserve.archive.rules import DEFAULT, Patients, Priors, Retention, Route, Rule, Rules, RulesError
from cxrserve.archive.tls_files import TlsFiles

_MAX_BYTES: Final = 2**20
_KEYS: Final = sorted(
    {
        name
        for model in (
            Rules,
            Rule,
            Match,
            Route,
            Retention,
            Patients,
            Priors,
            DimsePeer,
            WebPeer,
            Hl7Peer,
            FhirPeer,
            PullServer,
            WorklistPeer,
            WorkitemCode,
            Caller,
            TlsFiles,
        )
        for name in model.model_fields
    }
)


def load_rules(path: Path | None) -> Rules:
    """The rules in the file `path`, or `DEFAULT` where there is none.

    Raises:
        RulesError: the file cannot be read, or is wrong; every fault with its line and key.
    """
    if path is None:
        return DEFAULT
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise RulesError(f"{path} is larger than {_MAX_BYTES} bytes: these are no rules.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path} cannot be read: {type(error).__name__}. Give a YAML file.") from None
    return parse_rules(text, str(path))


def parse_rules(text: str, name: str) -> Rules:
    """The rules in `text`; `name` stands before each fault.

    Raises:
        RulesError: as `load_rules`.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RulesError(f"{name}{_where(error)}: this is not YAML. Check quotes and indentation.") from None
    if doubled := list(_doubled_keys(node)):
        raise RulesError(
            "\n".join(f"{name}:{row}: the key {key} stands twice; only one counts." for row, key in doubled)
        )
    if node is None:
        raise RulesError(f"{name} is empty; it needs at least `rules:` with one rule.")
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        raise RulesError("\n".join(_faults(error, node, name))) from None


def _doubled_keys(node: yaml.Node | None, visited: set[int] | None = None) -> Iterator[tuple[int, str]]:
    """Line and name of each key that stands twice in its mapping: YAML keeps the last one silently."""
    visited = set() if visited is None else visited
    if id(node) in visited:  # an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    yield key.start_mark.line + 1, key.value
                keys.add(key.value)
            yield from _doubled_keys(value, visited)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _doubled_keys(value, visited)


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _faults(error: ValidationError, node: yaml.Node, name: str) -> Iterator[str]:
    for fault in error.errors():
        if fault["type"] == "too_short" and fault["loc"] and len(error.errors()) > 1:
            continue  # pydantic counts only the sound items, so a faulty one counts twice
        row, path = _place(node, fault["loc"])
        value = "" if isinstance(fault["input"], dict | list) else f", not {str(fault['input'])[:60]!r}"
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            near = get_close_matches(str(fault["loc"][-1]), _KEYS, 1)
            message = "there is no such key" + (f"; is it {near[0]}?" if near else "")
        yield f"{name}:{row}: {'.'.join(path) or 'the file'}: {message}{value}"


def _place(node: yaml.Node, location: Sequence[int | str]) -> tuple[int, list[str]]:
    """The line of the innermost part of `location` that stands in the file, and the keys that lead there."""
    row, path = node.start_mark.line + 1, []
    for part in location:
        entry: Any = None
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            entry = (node.value[part], node.value[part])
        if entry is None:
            # A missing key is named at its parent's line; a union's tag is no key of the file.
            if part not in ("dimse", "stow", "hl7", "fhir"):
                path.append(str(part))
            continue
        key, node = entry
        row = key.start_mark.line + 1
        path.append(str(part))
    return row, path
