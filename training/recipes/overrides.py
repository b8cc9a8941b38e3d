"""`--set key=value`: any field of a recipe by its dotted name, checked against the field's type.

`fits.256.batch=16`, `fits.*.epochs=3` for every size, `preprocessing.sizes=256,512`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

EVERY = "*"
Node = TypeVar("Node")


class OverrideError(ValueError):
    """A key that does not exist, or a value that its field cannot take."""


def override(config: Node, assignments: Sequence[str]) -> Node:
    """`config` with each "key=value" of `assignments` applied, from left to right.

    Raises:
        OverrideError: no such key (the nearest ones are named), or a value of the wrong type.
    """
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise OverrideError(f"--set {assignment[:80]!r}: expected key=value, such as fits.256.batch=16")
        path, location = key.strip().split("."), _Location(config, key.strip())
        config = _set(config, type(config), path, value.strip(), location)
    return config


def keys(config: object, prefix: str = "") -> Iterator[str]:
    """Every key that can be set, dotted, parents before their fields."""
    for name, value, _ in _fields(config):
        yield f"{prefix}{name}"
        yield from keys(value, f"{prefix}{name}.")


@dataclasses.dataclass(frozen=True, slots=True)
class _Location:
    """The whole configuration and the whole key, for messages."""

    config: object
    key: str

    def unknown(self) -> OverrideError:
        known = list(keys(self.config))
        near = difflib.get_close_matches(self.key, known, n=4, cutoff=0.5)
        # Somebody who writes `batch` means fits.256.batch.
        near += [key for key in known if key.rpartition(".")[2] == self.key and key not in near][:4]
        hint = f"did you mean {', '.join(near)}?" if near else f"the keys begin with {', '.join(_top(known))}"
        return OverrideError(f"--set: there is no {self.key[:80]!r} in this recipe; {hint}")

    def wrong(self, value: str, hint: object, why: str) -> OverrideError:
        return OverrideError(f"--set {self.key}: {value[:60]!r} is not {_said(hint)} ({why})")


def _top(known: list[str]) -> list[str]:
    return [key for key in known if "." not in key]


def _set(node: Any, kind: Any, path: list[str], value: str, location: _Location) -> Any:
    """A copy of `node`, of the type `kind`, in which the field that `path` leads to is `value`."""
    name, rest = path[0], path[1:]
    fields = {str(field): (now, hint) for field, now, hint in _fields(node)}
    if name == EVERY and isinstance(node, Mapping) and rest:
        return {field: _set(now, type(now), rest, value, location) for field, now in node.items()}
    if not rest and isinstance(node, Mapping) and get_args(kind)[:1] == (str,):
        # Words by name, such as a finding's label policy: its name need not be there yet.
        fields[name] = (None, get_args(kind)[1])
    if name not in fields:
        raise location.unknown()
    now, hint = fields[name]
    new_value = _set(now, hint, rest, value, location) if rest else _parsed(value, hint, location)
    try:
        return _replaced(node, name, new_value)
    except (ValueError, TypeError) as error:  # a check of the configuration's own
        raise OverrideError(f"--set {location.key}={value[:60]}: {_first_line(error)}") from None


def _replaced(node: Any, name: str, value: object) -> Any:
    if isinstance(node, BaseModel):
        return type(node).model_validate({**dict(node), name: value})
    if isinstance(node, Mapping):
        field = next((field for field in node if str(field) == name), name)
        return {**node, field: value}
    return dataclasses.replace(node, **{name: value})


def _fields(node: object) -> list[tuple[object, object, object]]:
    """Name, value and type of each field of a configuration; none of a plain value."""
    if isinstance(node, BaseModel):
        hints = get_type_hints(type(node))
        return [(name, value, hints[name]) for name, value in node]
    if isinstance(node, Mapping):
        return [(name, value, type(value)) for name, value in node.items()]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        hints = get_type_hints(type(node))
        return [
            (field.name, getattr(node, field.name), hints[field.name])
            for field in dataclasses.fields(node)
            if field.init
        ]
    return []


def _parsed(value: str, hint: Any, location: _Location) -> object:
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # a type that pydantic does not know cannot be written in one line
        adapter = TypeAdapter(dict)
    try:
        # Strings become numbers and truth values here, and words are compared with Literal's.
        return adapter.validate_python(_pieces(value, hint), strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        raise location.wrong(value, hint, str(first["msg"])) from None


def _pieces(value: str, hint: Any) -> Any:
    """`value` cut into strings where the field holds several: by commas, or JSON."""
    if value.lower() in ("none", "null") and type(None) in get_args(hint):
        return None
    kinds = [get_origin(member) or member for member in _members(hint)]
    if not any(kind in (tuple, list, dict, set, frozenset, Mapping, Sequence) for kind in kinds):
        return value
    if value.startswith(("[", "{")):
        try:
            return _as_strings(json.loads(value))
        except ValueError:
            return value
    return [piece.strip() for piece in value.split(",") if piece.strip()]


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _as_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _as_strings(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_as_strings(item) for item in value]
    return value if isinstance(value, str) else json.dumps(value)


def _said(hint: Any) -> str:
    if isinstance(hint, type):
        return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, hint.__name__)
    return str(hint).replace("typing.", "")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"])
    return str(error).splitlines()[0]
