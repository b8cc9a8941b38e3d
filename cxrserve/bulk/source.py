"""Sources of images: a folder on this machine, or a bucket on S3 or Google Cloud Storage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, TypeVar

from pyarrow import fs

from cxrserve.errors import ConfigurationError, RequestError, TooLarge

Read = TypeVar("Read")
_PAUSES_S: Final = (1.0, 4.0, 16.0)  # before the further tries of a store that does not answer


class Source(Protocol):
    """Images with names. Thread-safe, and may be sent to other processes with pickle."""

    @property
    def location(self) -> str:
        """The name that the user gave."""
        ...

    def names(self) -> Iterable[str]:
        """The names of all images, in one order.

        Raises:
            ConfigurationError: they cannot be listed, or not all of them.
        """
        ...

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of one image.

        Raises:
            TooLarge: it has more than `max_bytes`.
            RequestError: this image cannot be read.
            CxrserveError: no image can be read now, because the source does not answer.
        """
        ...


class FileSource:
    """The files below a folder of a file system; hidden ones are left out.

    Names are paths below the folder, with `/` between their parts.
    """

    def __init__(self, location: str, files: fs.FileSystem, folder: str) -> None:
        self.location: Final = location
        self._files: Final = files
        self._folder: Final = folder.rstrip("/")
        self._local: Final = isinstance(files, fs.LocalFileSystem)

    def names(self) -> Iterator[str]:
        """The names of all files, sorted."""
        try:
            entries = self._files.get_file_info(fs.FileSelector(self._folder, recursive=True))
        except OSError as error:
            raise ConfigurationError(f"the images in {self.location} cannot be listed: {error}") from None
        start = len(self._folder) + 1
        names = (entry.path[start:] for entry in entries if entry.type == fs.FileType.File)
        yield from sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))

    def read(self, name: str, max_bytes: int) -> bytes:
        """As `Source.read`."""
        try:
            data = self._bytes(name, max_bytes + 1)
        except OSError as error:
            if not self._local and not _of_one_object(error):
                raise ConfigurationError(
                    f"{self.location} cannot be read any more: {_reason(error)}. "
                    "What is finished stays; the same command goes on from there."
                ) from None
            raise RequestError(f"the file cannot be read: {_reason(error)}") from None
        if len(data) > max_bytes:
            raise TooLarge(f"more than CXRSERVE_MAX_UPLOAD_BYTES={max_bytes} bytes")
        return data

    def _bytes(self, name: str, most: int) -> bytes:
        def read() -> bytes:
            with self._files.open_input_stream(f"{self._folder}/{name}") as stream:
                data: bytes = stream.read(most)
            return data

        return read() if self._local else patiently(read, lambda error: not _of_one_object(error))


def patiently(read: Callable[[], Read], may_pass: Callable[[Exception], bool]) -> Read:
    """The result of `read`; after an error that may pass it is tried again, with pauses that grow."""
    for pause_s in _PAUSES_S:
        try:
            return read()
        except Exception as error:
            if not may_pass(error):
                raise
        time.sleep(pause_s)
    return read()


def open_source(location: str) -> FileSource:
    """The source at `location`: a folder, `s3://BUCKET/FOLDER` or `gs://BUCKET/FOLDER`.

    Raises:
        ConfigurationError: there is no such folder, or the file system is not known.
    """
    files, folder = filesystem_of(location)
    try:
        kind = files.get_file_info(folder).type
    except OSError as error:
        raise ConfigurationError(f"{location} cannot be opened: {_reason(error)}") from None
    if kind != fs.FileType.Directory:
        raise ConfigurationError(
            f"{location} is no folder of images. Name a folder, s3://…, gs://… or dicomweb:SERVER."
        )
    return FileSource(location, files, folder)


def filesystem_of(location: str) -> tuple[fs.FileSystem, str]:
    """The file system that `location` is on, and the whole path there.

    Raises:
        ConfigurationError: the kind of file system is not known, or it does not answer.
    """
    try:
        if "://" in location:
            files, path = fs.FileSystem.from_uri(location)
        else:
            files, path = fs.LocalFileSystem(), os.path.abspath(location)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{location} cannot be opened: {_reason(error)}") from None
    return files, path


def _of_one_object(error: Exception) -> bool:
    """True where an object store refuses one object, and not the whole store is away."""
    return isinstance(error, FileNotFoundError | PermissionError) or "ACCESS_DENIED" in str(error)


def _reason(error: Exception) -> str:
    """The first sentence of an error of a file system; the rest repeats names and addresses."""
    return str(getattr(error, "strerror", None) or error).split(". ")[0].splitlines()[0]
