"""File of an object that is being received: written and hashed as its bytes come, never whole in memory.

Where the file system allows, it bypasses the page cache too: a radiograph is read once more, much later. That
saves a copy, and fresh memory, which a virtual machine has to fetch from its host page by page.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cxrserve.archive.storage.files import unwritable
from cxrserve.errors import TooLarge
from cxrserve.files import fsync_folder
from cxrserve.imaging.dicom.dataset import MAX_HEADER_BYTES, inflated_pieces
from cxrserve.imaging.dicom.file_prefix import FilePrefix, begin

_CHUNK_BYTES: Final = 2**20  # a multiple of every disk's block
_MAX_HASHED_BYTES: Final = 64 * 2**20  # of a deflated data set in inflated form: a tenth of a second
_PREFIX_BYTES: Final = 2**18  # the header of a radiograph has a few thousand; with an icon, some more


class IncomingFile:
    """A DICOM file that is being received, for one thread at a time.

    Its bytes go through `write`, until `finish`; then its header is read, and it is committed, or not. A
    context manager, which ends with `discard`.

    Args:
        path: a new file, on the file system on which it may be committed.

    Raises:
        OutOfResources: on construction, and wherever it is written: the disk is full or read-only; nothing is
            left behind.

    Attributes:
        size: bytes written so far.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._prefix: FilePrefix | None = None
        self._header: bytes | None = None
        self._whole_hash: Final = sha256()
        self._content_hash: Final = sha256()
        self._chunk = memoryview(mmap(-1, _CHUNK_BYTES))  # which begins with a page, as O_DIRECT asks
        self._filled = 0
        self._committed = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise unwritable(error) from error
        self._direct = _set_direct(self._descriptor, True)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises:
            UnreadableImage: they are the first ones, and not DICOM.
        """
        left = memoryview(piece)
        while left:
            count = min(len(left), _CHUNK_BYTES - self._filled)
            self._chunk[self._filled : self._filled + count] = left[:count]
            self._filled += count
            self.size += count
            left = left[count:]
            if self._filled == _CHUNK_BYTES:
                self._flush()

    def finish(self) -> None:
        """End the file: there are no more bytes.

        Raises:
            UnreadableImage: the bytes are not DICOM.
        """
        self._flush()
        self._chunk = memoryview(b"")
        self._direct = _set_direct(self._descriptor, False)  # what reads it back need not be aligned

    def _flush(self) -> None:
        chunk, start = self._chunk[: self._filled], 0
        self._filled = 0
        if self._prefix is None:
            self._prefix = begin(bytes(chunk[:_PREFIX_BYTES]))
            start = self._prefix.start
            self._content_hash.update(self._prefix.transfer_syntax.encode())
        self._whole_hash.update(chunk)
        if not self._prefix.deflated:
            self._content_hash.update(chunk[start:])
        try:
            self._put(chunk)
        except OSError as error:
            self.discard()
            raise unwritable(error) from error

    def _put(self, chunk: memoryview) -> None:
        """Write whole chunks past the page cache, where the file system can, and the rest through it."""
        while chunk:
            if self._direct and len(chunk) < _CHUNK_BYTES:
                self._direct = _set_direct(self._descriptor, False)
            try:
                chunk = chunk[os.write(self._descriptor, chunk) :]
            except OSError as error:
                if not self._direct or error.errno != errno.EINVAL:
                    raise
                self._direct = _set_direct(self._descriptor, False)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return self._whole_hash.hexdigest()

    def content_sha256(self) -> str:
        """SHA-256 of its transfer syntax UID and its data set, in inflated form where it came deflated.

        Of a data set that unfolds to more than 64 MiB, what follows is hashed as it came: nobody can make the
        station work for longer by a file that unfolds a thousandfold.

        Raises:
            UnreadableImage: it came deflated, and is damaged or cut.
            OutOfResources: it cannot be read back.
        """
        digest = self._content_hash.copy()
        if self._parsed_prefix.deflated:
            for piece in inflated_pieces(self._deflated(), _MAX_HASHED_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def _deflated(self) -> Iterator[bytes]:
        position = self._parsed_prefix.start
        while piece := self._read(_CHUNK_BYTES, position):
            position += len(piece)
            yield piece

    def header(self) -> bytes:
        """The file's first bytes, with everything up to Pixel Data; the whole file where it is small.

        Raises:
            TooLarge: there are more than `MAX_HEADER_BYTES` before Pixel Data.
            OutOfResources: it cannot be read back.
        """
        if self._header is None:
            prefix = self._parsed_prefix
            for data in (prefix.data, self._read(MAX_HEADER_BYTES)):
                if len(data) == self.size or replace(prefix, data=data).contains_header():
                    self._header = data
                    break
            else:
                raise TooLarge(
                    f"more than {MAX_HEADER_BYTES} bytes come before Pixel Data. Send it without large "
                    "private elements."
                )
        return self._header

    @property
    def _parsed_prefix(self) -> FilePrefix:
        if self._prefix is None:
            raise ValueError("it is not finished")
        return self._prefix

    def read(self) -> bytes:
        """All bytes of the finished file.

        Raises:
            OutOfResources: they cannot be read back.
        """
        return self._read(self.size)

    def _read(self, count: int, position: int = 0) -> bytes:
        """Up to `count` bytes from `position` on; fewer at the end of the file."""
        try:
            with open(os.dup(self._descriptor), "rb") as file:
                file.seek(position)
                return file.read(count)
        except OSError as error:
            raise unwritable(error) from error

    def commit(self, path: Path) -> None:
        """Move the file to `path`; when this returns it survives a power cut. A second call moves it on."""
        try:
            if not self._committed:
                os.fsync(self._descriptor)
                if hasattr(os, "posix_fadvise"):  # what went through the page cache
                    os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            self._path.rename(path)
            fsync_folder(path.parent)
        except OSError as error:
            self.discard()
            raise unwritable(error) from error
        self._path, self._committed = path, True

    def discard(self) -> None:
        """Close the file, and delete it where it was not committed. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        self._chunk = memoryview(b"")
        os.close(descriptor)
        if not self._committed:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _set_direct(descriptor: int, on: bool) -> bool:
    """Let writes bypass the page cache, or not; True where they do now."""
    direct = getattr(os, "O_DIRECT", 0)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | direct if on else flags & ~direct)
    except OSError:  # a file system that cannot
        return False
    return on and direct != 0
