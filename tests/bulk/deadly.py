"""A source with one image that kills the process that reads it, for tests of what is given up."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cxrserve.bulk.run import Options, predict_in_parts
from cxrserve.bulk.source import FileSource, open_source
from cxrserve.settings import Settings


class DeadlySource:
    """A folder of images; reading `name` ends the process."""

    def __init__(self, folder: str, name: str) -> None:
        self._source: FileSource = open_source(folder)
        self._name = name
        self.location = folder

    def names(self) -> Iterator[str]:
        """As of the folder."""
        return self._source.names()

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of an image, if it is another one."""
        if name == self._name:
            os._exit(9)
        return self._source.read(name, max_bytes)


def main() -> None:
    """Read FOLDER with BUNDLE into OUTPUT at ADDRESS, in parts of one image; NAME is deadly."""
    folder, name, bundle, output, address, give_up = sys.argv[1:]
    complete = predict_in_parts(
        DeadlySource(folder, name),
        Settings(bundle=Path(bundle), threads=2, decode_workers=1),
        output,
        Options(ray=address, give_up=int(give_up), part_images=1),
    )
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
