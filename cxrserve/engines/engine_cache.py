"""Cache folder of built engines: TensorRT's and torch's. An engine is code: only what lies here is loaded.

The folder is $XDG_CACHE_HOME/cxrserve/engines (~/.cache otherwise), readable and writable by its owner alone.
A file is named by the hash of everything it depends on. The description beside it holds the hash of the file
and the differences that its gate measured.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cxrserve.errors import EngineError
from cxrserve.files import write_atomically
from cxrserve.schema import Strict

_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class EngineKey(Strict):
    """Everything that a built engine depends on.

    Attributes:
        builder: the library and its version, e.g. `TensorRT 11.4.0`.
        architecture: the instructions that the device knows.
        device: the GPU's name, or the CPU's.
        driver: of the GPU.
    """

    onnx_sha256: str
    builder: str
    architecture: str
    device: str
    driver: str
    precision: str
    buckets: tuple[int, ...]

    @property
    def digest(self) -> str:
        """One hash of all fields: the name of the file."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class BuiltGate(Strict):
    """The largest differences from ONNX Runtime in single precision that a bucket of an engine showed."""

    bucket: int
    logits: float
    maps: float


class Built(Strict):
    """Description of a built engine: its key, the hash of its bytes, and the results of its gate."""

    key: EngineKey
    sha256: str
    gates: tuple[BuiltGate, ...]


def cache_folder() -> Path:
    """The folder of built engines."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cxrserve" / "engines"


def prepare(folder: Path) -> None:
    """Make the folder, so that minutes of building are not for nothing.

    Raises:
        EngineError: it cannot be made, or is not ours alone.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EngineError(
            f"the folder for built engines, {folder}, cannot be made: {error.strerror}. Set XDG_CACHE_HOME "
            "to a folder that this user may write to, and that outlives the container"
        ) from error
    _check_owner(folder)


def file_of(folder: Path, key: EngineKey) -> Path:
    """The file of the engine for `key`; it need not have been built."""
    return folder / f"{key.digest}.engine"


def keep(folder: Path, key: EngineKey, engine: bytes, gates: tuple[BuiltGate, ...]) -> Path:
    """Write an engine that passed its gate; its description comes last, so that a kill leaves none."""
    prepare(folder)
    file = file_of(folder, key)
    built = Built(key=key, sha256=hashlib.sha256(engine).hexdigest(), gates=gates)
    for path, content in ((file, engine), (_description(file), built.model_dump_json(indent=1).encode())):
        write_atomically(path, content, mode=0o600)
    return file


def find(folder: Path, key: EngineKey) -> tuple[bytes, Built] | None:
    """The engine built for `key` and its description; None where there is none.

    Raises:
        EngineError: the folder or a file is not ours alone, or the file is not what was built.
    """
    file = file_of(folder, key)
    if not _description(file).exists():
        return None
    for path in (folder, file, _description(file)):
        _check_owner(path)
    try:
        built = Built.model_validate_json(_description(file).read_bytes())
        engine = file.read_bytes()
    except (OSError, ValidationError) as error:
        raise EngineError(f"{file} cannot be read: {error}. Build it again: {_BUILD}") from error
    digest = hashlib.sha256(engine).hexdigest()
    if built.key != key or digest != built.sha256:
        raise EngineError(
            f"{file} has SHA-256 {digest}, its description says {built.sha256}: it was changed or damaged. "
            f"Delete it and build again: {_BUILD}"
        )
    return engine, built


def not_built(size: int, key: EngineKey) -> EngineError:
    """The error for an engine that `find` did not find."""
    return EngineError(
        f"no engine was built for the member of size {size} ({key.precision}, {key.builder}, {key.device}, "
        f"driver {key.driver}). It takes minutes and is never done while serving: "
        f"{_BUILD}{' --precision f32' * (key.precision == 'f32')}"
    )


_BUILD: Final = "cxrserve models build BUNDLE"


def _description(file: Path) -> Path:
    return file.with_suffix(".json")


def _check_owner(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}. Build it again: {_BUILD}") from error
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & _OTHERS_MAY_WRITE:
        raise EngineError(
            f"{path} is a link, belongs to another user, or others may write to it: an engine is code, and "
            "only what this user built is loaded. Delete it and build again as this user"
        )
