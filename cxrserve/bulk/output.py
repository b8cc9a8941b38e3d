"""The output folder: its files appear whole or not at all, on this machine and on object stores."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pyarrow import fs

from cxrserve.bulk.source import filesystem_of
from cxrserve.errors import ConfigurationError
from cxrserve.files import write_atomically


class OutputFolder:
    """A folder that files are written to. Thread-safe; may be sent to other processes with pickle.

    On this machine a file is written beside, flushed and renamed; an object store shows an object only once
    it is complete.
    """

    def __init__(self, location: str) -> None:
        self.location: Final = location
        self._files, folder = filesystem_of(location)
        self._folder: Final = folder.rstrip("/")
        self._local: Final = isinstance(self._files, fs.LocalFileSystem)

    def names(self) -> list[str]:
        """The names of the finished files directly in it; none where there is no such folder.

        Raises:
            ConfigurationError: it cannot be listed.
        """
        try:
            entries = self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
        except OSError as error:
            raise ConfigurationError(f"the output folder {self.location} cannot be listed: {error}") from None
        return [entry.base_name for entry in entries if not entry.base_name.startswith(".")]

    def has(self, name: str) -> bool:
        """True where there is a file of this name, which may be a path below the folder."""
        found: bool = self._files.get_file_info(f"{self._folder}/{name}").type == fs.FileType.File
        return found

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._files.open_input_file(f"{self._folder}/{name}") as file:
            data: bytes = file.read()
        return data

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in the place of one of this name, which may be a path below the folder.

        Raises:
            ConfigurationError: the disk is full, or the folder may not be written to.
        """
        try:
            if self._local:
                path = Path(self._folder) / name
                os.makedirs(path.parent, exist_ok=True)
                write_atomically(path, content)
                return
            with self._files.open_output_stream(f"{self._folder}/{name}") as stream:
                stream.write(content)
        except OSError as error:
            raise ConfigurationError(
                f"{self.location}/{name} cannot be written: {error.strerror or error}. "
                "What is finished stays; the same command goes on from there."
            ) from None
