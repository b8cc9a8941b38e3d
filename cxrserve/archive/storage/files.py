"""Files of the archive: written whole and durable, named by their content, checked when read.

    objects/ab/<sha256>.dcm          received objects, by the SHA-256 of their bytes
    quarantine/<sha256>.dcm          quarantined objects: see `receipt`
    results/ab/<key>/                results of one image or one revision of a study; never changed
    incoming/<node>/                 files that are being written; emptied at start

A name never holds anything that a sender chose: keys are hashes of UIDs.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO, Final

from cxrserve.errors import ConfigurationError, CxrserveError, OutOfResources
from cxrserve.files import fsync_folder, write_new


class DamagedObject(CxrserveError):
    """A stored file is gone, or its hash is not that of the bytes received."""

    slug = "damaged-in-archive"
    title = "The stored object is damaged"


class ObjectExpired(CxrserveError):
    """The image was deleted when its retention time was over."""

    http_status = 410
    slug = "expired"
    title = "The image was deleted after its retention time"


def key_of(uid: str) -> str:
    """The name of `uid` in files and rows: 32 hexadecimal digits of its SHA-256."""
    return sha256(uid.encode()).hexdigest()[:32]


def revision_key(study_key: str, revision: int) -> str:
    """The name of a study's revision: of the folder of its results, and the id of the job that makes them."""
    return f"{study_key}-{revision}"


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
            fsync_folder(parent)
        fsync_folder(self.folder)

    def object_path(self, digest: str) -> Path:
        """The path of the object with this SHA-256."""
        return self._objects / digest[:2] / f"{digest}.dcm"

    def quarantine_path(self, digest: str) -> Path:
        """The path of the quarantined object with this SHA-256."""
        return self._quarantine / f"{digest}.dcm"

    def object_folders(self) -> Iterator[tuple[Path, bool]]:
        """Every folder of objects, and whether it holds quarantined ones."""
        yield self._quarantine, True
        for folder in sorted(self._objects.iterdir()):
            yield folder, False

    def results_path(self, key: str) -> Path:
        """The folder of the results of `key`."""
        return self._results / key[:2] / key

    def new_path(self) -> Path:
        """A new path to write a file to before it is committed, in a folder that is emptied at start."""
        return self._incoming / uuid.uuid4().hex

    def read(self, digest: str) -> bytes:
        """Read the object with this SHA-256 and check it.

        Raises:
            DamagedObject: it is gone, or its bytes have changed.
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

    def open(self, digest: str) -> BinaryIO:
        """Open the object with this SHA-256, check it piece by piece, and return it at its beginning.

        Its bytes are never all in memory. The caller closes it.

        Raises:
            DamagedObject: it is gone, or its bytes have changed.
        """
        try:
            file = self.object_path(digest).open("rb")
            try:
                same = file_digest(file, "sha256").hexdigest() == digest
                file.seek(0)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            raise DamagedObject(
                f"the stored object {digest[:16]}… cannot be read ({_name(error)}). Send it again from its "
                "source under a new archive, or restore the file."
            ) from error
        if not same:
            file.close()
            raise DamagedObject(
                f"the stored object {digest[:16]}… has changed on disk: its hash is another. Check the disk "
                "and restore the file from a backup or its source."
            )
        return file

    def publish(self, key: str, files: Mapping[str, bytes]) -> Path:
        """Publish the results folder of `key` with `files`, atomically; an existing one stays as it is.

        So the first worker to finish wins, and results are never replaced.

        Raises:
            OutOfResources: it could not be written; nothing is left behind.
        """
        path = self.results_path(key)
        temporary = self.new_path()
        try:
            temporary.mkdir(mode=0o700)
            for name, data in files.items():
                write_new(temporary / name, data)
            fsync_folder(temporary)
            try:
                temporary.rename(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            fsync_folder(path.parent)
        except OSError as error:
            raise unwritable(error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return path

    def remove_unfinished(self) -> None:
        """Remove the folder of this node's unfinished files: for a command, which ends."""
        shutil.rmtree(self._incoming, ignore_errors=True)

    def free_bytes(self) -> int:
        """Bytes that this process may still write.

        Raises:
            OutOfResources: the disk does not answer.
        """
        try:
            status = os.statvfs(self.folder)
        except OSError as error:
            raise unwritable(error) from error
        return status.f_bavail * status.f_frsize


def unwritable(error: OSError) -> OutOfResources:
    """The error for a sender whose object could not be written: it may come again later."""
    return OutOfResources(
        f"the archive could not write to its disk ({_name(error)}); nothing was stored. Send the object "
        "again later, and check the disk.",
        retry_after_s=60,
    )


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
