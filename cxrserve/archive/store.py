"""The files of the archive: written whole and durable, named by their content, checked when read.

    objects/ab/<sha256>.dcm          received objects, by the SHA-256 of their bytes
    quarantine/<sha256>.dcm          objects that were set aside: see `receipt`
    results/ab/<key>/                what was made of one image or one revision of a study; never changed
    incoming/<node>/                 what is being written; emptied at start

A name never holds anything a sender chose: keys are hashes of UIDs. POSIX promises that a rename within one
file system is atomic, and that it lasts once the folder was fsynced.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from cxrserve.errors import ConfigurationError, CxrserveError, OutOfResources


class DamagedObject(CxrserveError):
    """A stored file is gone or not what was written: its hash differs."""

    slug = "damaged-in-archive"
    title = "The stored object is damaged"


class ObjectExpired(CxrserveError):
    """The image was deleted when its retention time was over."""

    http_status = 410
    slug = "expired"
    title = "The image was deleted after its retention time"


def key_of(uid: str) -> str:
    """The name under which files and rows speak of `uid`: 32 hexadecimal digits of its SHA-256."""
    return sha256(uid.encode()).hexdigest()[:32]


class Store:
    """The files below one folder; thread-safe, and safe beside other nodes on the same folder.

    Args:
        folder: made if need be.
        node: this node's name; tells its unfinished files from those of other nodes.

    Raises:
        ConfigurationError: the folder cannot be written.
    """

    def __init__(self, folder: Path, node: str) -> None:
        self.folder: Final = folder.resolve()
        self._objects: Final = self.folder / "objects"
        self._quarantine: Final = self.folder / "quarantine"
        self._results: Final = self.folder / "results"
        self._incoming: Final = self.folder / "incoming" / sha256(node.encode()).hexdigest()[:16]
        try:
            self._make_folders()
        except OSError as error:
            raise ConfigurationError(
                f"the archive {folder} cannot be used: {error.strerror}. Give a folder that can be written "
                "(CXRSERVE_ARCHIVE)."
            ) from error

    def _make_folders(self) -> None:
        shutil.rmtree(self._incoming, ignore_errors=True)
        for folder in (self._quarantine, self._incoming):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for parent in (self._objects, self._results):
            parent.mkdir(exist_ok=True, mode=0o700)
            for number in range(256):  # made here once, so that keeping an object needs to fsync one folder
                (parent / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
            sync(parent)
        sync(self.folder)

    def object_path(self, digest: str) -> Path:
        """Where the object with this SHA-256 lies."""
        return self._objects / digest[:2] / f"{digest}.dcm"

    def quarantine_path(self, digest: str) -> Path:
        """Where a quarantined object with this SHA-256 lies."""
        return self._quarantine / f"{digest}.dcm"

    def object_folders(self) -> Iterator[tuple[Path, bool]]:
        """Every folder that objects lie in, and whether those of it are quarantined."""
        yield self._quarantine, True
        for folder in sorted(self._objects.iterdir()):
            yield folder, False

    def results_path(self, key: str) -> Path:
        """The folder of what was made for `key`."""
        return self._results / key[:2] / key

    def new_path(self) -> Path:
        """Where a file is written before it is kept; emptied at start."""
        return self._incoming / uuid.uuid4().hex

    def read(self, digest: str) -> bytes:
        """The object with this SHA-256, checked.

        Raises:
            DamagedObject: it is gone, or its bytes are not those that were received.
        """
        try:
            data = self.object_path(digest).read_bytes()
        except OSError as error:
            raise DamagedObject(
                f"the stored object {digest[:16]}… cannot be read ({_name(error)}). Send it again from its "
                "source under a new archive, or restore the file."
            ) from error
        if sha256(data).hexdigest() != digest:
            raise DamagedObject(
                f"the stored object {digest[:16]}… has changed on disk: its hash is another. Check the disk "
                "and restore the file from a backup or its source."
            )
        return data

    def publish(self, key: str, files: Mapping[str, bytes]) -> Path:
        """Make the results folder of `key`, with `files` in it, at once; one that is there already stays.

        So the first worker to finish decides, and its results are never replaced.

        Raises:
            OutOfResources: it could not be written; nothing of it is left.
        """
        path = self.results_path(key)
        temporary = self.new_path()
        try:
            temporary.mkdir(mode=0o700)
            for name, data in files.items():
                write_synced(temporary / name, data)
            sync(temporary)
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            sync(path.parent)
        except OSError as error:
            raise unwritable(error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return path

    def free_bytes(self) -> int:
        """Bytes that this process may still write.

        Raises:
            OutOfResources: the disk does not say.
        """
        try:
            found = os.statvfs(self.folder)
        except OSError as error:
            raise unwritable(error) from error
        return found.f_bavail * found.f_frsize


def write_synced(path: Path, data: bytes) -> None:
    """Write `data` to `path` and wait until the disk has it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        # A film is read again once, later: its pages are free for the next one at once, and not only when
        # memory is short.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def unwritable(error: OSError) -> OutOfResources:
    """What a failed write means to a sender: not now."""
    return OutOfResources(
        f"the archive's disk did not take the data ({_name(error)}); nothing was kept. Send it again later, "
        "and have the disk looked at.",
        retry_after_s=60,
    )


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def sync(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
