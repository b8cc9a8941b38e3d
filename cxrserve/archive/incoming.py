"""One object on its way to disk: written and hashed as its bytes come, and never whole in memory.

Nor in the page cache, where it can be kept out: a film is read once more, much later. A copy less is made of
it, and no fresh memory is taken, which a virtual machine has to fetch from its host page by page.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cxrserve.archive.store import sync, unwritable
from cxrserve.imaging.dicom.beginning import Beginning, begin

_CHUNK_BYTES: Final = 2**20  # a multiple of every disk's block
_BEGINNING_BYTES: Final = 2**18  # the header of a radiograph has a few thousand; with an icon, some more


class Incoming:
    """A DICOM file that is being received, for one thread at a time.

    Its bytes go through `write`, until `finish`; then it is looked at, and kept, or not. A context manager,
    which ends with `discard`.

    Args:
        path: a new file, on the file system on which it may be kept.

    Raises:
        OutOfResources: on construction, and wherever it is written: the disk did not take it; nothing of it
            is left.

    Attributes:
        size: bytes written so far.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._beginning: Beginning | None = None
        self._header: bytes | None = None
        self._whole_hash: Final = sha256()
        self._content_hash: Final = sha256()
        self._chunk = memoryview(mmap(-1, _CHUNK_BYTES))  # which begins with a page, as O_DIRECT asks
        self._filled = 0
        self._kept = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise unwritable(error) from error
        self._direct = _set_direct(self._descriptor, True)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Append bytes.

        Raises:
            UnreadableImage: they are the first ones, and no DICOM.
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
        """There are no more bytes.

        Raises:
            UnreadableImage: what came is no DICOM.
        """
        self._flush()
        self._chunk = memoryview(b"")
        self._direct = _set_direct(self._descriptor, False)  # what reads it back need not be aligned

    def _flush(self) -> None:
        chunk, start = self._chunk[: self._filled], 0
        self._filled = 0
        if self._beginning is None:
            self._beginning = begin(bytes(chunk[:_BEGINNING_BYTES]))
            start = self._beginning.start
            self._content_hash.update(self._beginning.transfer_syntax.encode())
        self._whole_hash.update(chunk)
        if not self._beginning.deflated:
            self._content_hash.update(chunk[start:])
        try:
            self._put(chunk)
        except OSError as error:
            self.discard()
            raise unwritable(error) from error

    def _put(self, chunk: memoryview) -> None:
        """Write: whole chunks past the page cache, where the file system can; the rest through it."""
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
        """Of the file."""
        return self._whole_hash.hexdigest()

    def content_sha256(self, inflated: bytes) -> str:
        """Of its transfer syntax's UID and its data set: as it came, or `inflated` where it came deflated."""
        if self._begun.deflated:
            whole = self._content_hash.copy()
            whole.update(inflated)
            return whole.hexdigest()
        return self._content_hash.hexdigest()

    def header(self) -> bytes:
        """So much of the file that all before Pixel Data is in it; all of it where that is not known.

        Raises:
            OutOfResources: it cannot be read back.
        """
        if self._header is None:
            begun = self._begun
            enough = len(begun.data) == self.size or begun.has_header()
            self._header = begun.data if enough else self._read_back()
        return self._header

    @property
    def _begun(self) -> Beginning:
        if self._beginning is None:
            raise ValueError("it is not finished")
        return self._beginning

    def _read_back(self) -> bytes:
        try:
            with open(os.dup(self._descriptor), "rb") as file:
                file.seek(0)
                return file.read()
        except OSError as error:
            raise unwritable(error) from error

    def keep(self, path: Path) -> None:
        """Make it `path`; when this returns it survives a power cut. Again: it moves on from there."""
        try:
            if not self._kept:
                os.fsync(self._descriptor)
                if hasattr(os, "posix_fadvise"):  # what went through the page cache
                    os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            self._path.rename(path)
            sync(path.parent)
        except OSError as error:
            self.discard()
            raise unwritable(error) from error
        self._path, self._kept = path, True

    def discard(self) -> None:
        """Close the file, and delete it where it was not kept. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        self._chunk = memoryview(b"")
        os.close(descriptor)
        if not self._kept:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def _set_direct(descriptor: int, on: bool) -> bool:
    """Have writes pass the page cache by, or not; whether they do now."""
    direct = getattr(os, "O_DIRECT", 0)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | direct if on else flags & ~direct)
    except OSError:  # a file system that cannot
        return False
    return on and direct != 0
