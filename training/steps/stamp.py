"""What a finished step leaves behind: the key of its inputs and the hashes of its outputs.

A step whose stamp has the key that its inputs have now is not done again. Outputs are written under a
temporary name and renamed, and the stamp comes last: a stamp that is there tells the truth, whenever the run
was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from training.datasets.manifest_files import write_atomically

# Of what the steps write: what another version wrote is not read.
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """One finished step.

    Attributes:
        step: its name, with fold, seed and size where it has them.
        key: SHA-256 of everything that it depends on.
        inputs: what that was, short, for people.
        outputs: SHA-256 of each file that it wrote, by name.
        said: what it has to tell later steps and people.
    """

    step: str
    key: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    said: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of key and outputs: what later steps depend on."""
        return sha256_of({"key": self.key, "outputs": dict(self.outputs)})


def key_of(inputs: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """The key of a step's inputs, and each of them hashed, for the stamp."""
    hashed = {
        name: value if isinstance(value, str) else sha256_of(value)[:12] for name, value in inputs.items()
    }
    return sha256_of({"format": FORMAT, **inputs}), hashed


def write_stamp(path: Path, stamp: Stamp) -> Stamp:
    """Write `stamp`; whatever it speaks of must lie in its place already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(plain(stamp), indent=1) + "\n")
    return stamp


def read_stamp(path: Path) -> Stamp | None:
    """The stamp at `path`, None where there is none that can be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Stamp(**said)
    except (OSError, ValueError, TypeError):
        return None


def why_not_done(path: Path, folder: Path, key: str, inputs: Mapping[str, str]) -> str | None:
    """Why the step whose stamp is to lie at `path` must run; None if it is done.

    Outputs are looked for, not hashed: they may be large, and what writes them renames them whole.
    """
    stamp = read_stamp(path)
    if stamp is None:
        return "not done yet"
    if stamp.key != key:
        changed = [name for name in inputs if stamp.inputs.get(name) != inputs[name]]
        return f"changed: {', '.join(changed) or 'its inputs'}"
    gone = [name for name in stamp.outputs if not (folder / name).exists()]
    return f"gone: {', '.join(gone)}" if gone else None


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, file or folder, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    remove(part)
    yield part
    if part.is_dir():
        remove(path)
    os.replace(part, path)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
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
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    return str(value) if isinstance(value, Path) else value
