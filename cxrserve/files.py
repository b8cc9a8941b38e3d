"""Durable files: written whole, flushed to disk, and put in place by an atomic rename.

POSIX promises that a rename within one file system is atomic, and that it survives a power cut once the
folder was fsynced. So a reader sees the old file or the new one, and never a part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def write_new(path: Path, data: bytes) -> None:
    """Write `data` to the new file `path`, readable by its owner alone, and wait until the disk has it.

    The name is durable only after `fsync_folder`.

    Raises:
        FileExistsError: there is a file of that name.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # its pages are free for the next file at once
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_atomically(path: Path, content: bytes | str, *, mode: int = 0o666) -> None:
    """Put a file with `content` in the place of `path`, whole or not at all; text is written as UTF-8.

    Args:
        mode: permissions of the file, less those that the umask takes away.
    """
    with (
        replace_atomically(path) as part,
        open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file,
    ):
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a path to write to; what was written there takes the place of `path` when the block ends.

    After an error, or where nothing was written, `path` stays as it was.

    Raises:
        FileNotFoundError: the block wrote nothing.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")  # on a shared disk, machines have equal pids
    try:
        yield part
        fsync_file(part)
        part.replace(path)
        fsync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Wait until the disk has the bytes of `path`."""
    _fsync(path, os.O_RDONLY)


def fsync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    _fsync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
