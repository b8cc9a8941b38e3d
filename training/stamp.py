"""Stamp of a finished step: its inputs, the hashes of its outputs, and a summary.

A step whose stamp has the inputs that it has now is not done again. The stamp is written last: a stamp that
is there tells the truth, whenever the run was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from cxrserve.files import write_atomically

# Format of the stamps. Stamps of another format are not read; what they describe stays where it is.
FORMAT: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """One finished step.

    Attributes:
        step: its name, with fold, seed and size where it has them.
        inputs: everything that it depends on, as JSON.
        outputs: SHA-256 of each file that it wrote, by name.
        summary: figures for later steps and people.
        format: of the stamp.
    """

    step: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    format: int = FORMAT

    @property
    def key(self) -> str:
        """SHA-256 of the inputs."""
        return key_of(self.inputs)

    @property
    def sha256(self) -> str:
        """Hash of inputs and outputs: what later steps depend on."""
        return sha256_of({"key": self.key, "outputs": dict(self.outputs)})


def key_of(inputs: Mapping[str, object]) -> str:
    """SHA-256 of a step's inputs."""
    return sha256_of({"format": FORMAT, **inputs})


def write_stamp(path: Path, stamp: Stamp) -> Stamp:
    """Write `stamp`; the files that it names must be there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(plain(stamp), indent=1) + "\n")
    return stamp


def read_stamp(path: Path) -> Stamp | None:
    """The stamp at `path`; None if there is none of this format."""
    try:
        stamp = Stamp(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return stamp if stamp.format == FORMAT else None


def differences(stored: object, value: object, name: str = "") -> list[str]:
    """The parts of `value` that differ from `stored`, the JSON of an earlier value, each in words.

    A field that `stored` lacks counts as its default: a version that adds a field to a recipe does not make
    the finished steps of earlier versions undone. So the default of a new field must mean what was done
    before there was one.
    """
    if (dataclasses.is_dataclass(value) and not isinstance(value, type)) or isinstance(value, BaseModel):
        if not isinstance(stored, Mapping):
            return [_changed(name, stored, value)]
        current = _fields(value)
        absent = [_joined(name, field) for field in stored if field not in current]
        lists = [
            differences(stored[field], own, _joined(name, field))
            if field in stored
            else ([] if own == default else [_joined(name, field)])
            for field, (own, default) in current.items()
        ]
        return [*absent, *(difference for lines in lists for difference in lines)]
    if isinstance(value, Mapping) and isinstance(stored, Mapping):
        mapping = {str(field): own for field, own in value.items()}
        lines = [_joined(name, field) for field in stored.keys() ^ mapping.keys()]
        for field in stored.keys() & mapping.keys():
            lines += differences(stored[field], mapping[field], _joined(name, field))
        return sorted(lines)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not isinstance(stored, Sequence) or len(stored) != len(value):
            return [_changed(name, stored, value)]
        return [
            difference
            for index, (old, own) in enumerate(zip(stored, value, strict=True))
            for difference in differences(old, own, f"{name}[{index}]")
        ]
    return [] if plain(value) == stored else [_changed(name, stored, value)]


def _fields(value: Any) -> dict[str, tuple[object, object]]:
    """Each field's value and default; a field without a default has a value that equals none."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            name: (getattr(value, name), field.get_default(call_default_factory=True))
            if field.get_default(call_default_factory=True) is not PydanticUndefined
            else (getattr(value, name), object())
            for name, field in fields.items()
        }
    value_and_default: dict[str, tuple[object, object]] = {}
    for field in dataclasses.fields(value):
        default: object = object()
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        value_and_default[field.name] = getattr(value, field.name), default
    return value_and_default


def _joined(name: str, field: str) -> str:
    return f"{name}.{field}" if name else str(field)


def _changed(name: str, stored: object, value: object) -> str:
    old, new = str(stored), str(plain(value))
    return f"{name} ({old} → {new})" if len(old) + len(new) < 60 else name


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of(value: object) -> str:
    """SHA-256 of a configuration: dataclasses, models, mappings, sequences and plain values."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def plain(value: object) -> Any:
    """`value` as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return str(value) if isinstance(value, Path) else value
