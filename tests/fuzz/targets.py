"""The parsers that run in the service on bytes of strangers. Refusing by an error of the project is right."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cxrserve.archive.receipt import Source
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.archive.receiving.parse import parse
from cxrserve.errors import CxrserveError
from cxrserve.imaging.dicom.identity import identity
from cxrserve.imaging.dicom.source_header import element_texts, source_header
from cxrserve.imaging.limits import Limits

_KEYWORDS: Final = {"Modality", "BodyPartExamined", "ViewCodeSequence.CodeValue", "ReferencedSeriesSequence"}


def _identity(data: bytes) -> None:
    identity(data, Limits())


def _source_header(data: bytes) -> None:
    source_header(data, Limits())


def _element_texts(data: bytes) -> None:
    element_texts(data, _KEYWORDS, Limits())


def _intake(data: bytes) -> None:
    """Everything that the service does to an object that it receives, but for the database."""
    path = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}.dcm"
    with IncomingFile(path) as file:
        file.write(data)
        file.finish()
        parse(file, Source(protocol="stow"), Limits(), None, _KEYWORDS)


def _refusing(parse: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        with contextlib.suppress(CxrserveError):
            parse(data)

    return run


TARGETS: Final = {
    "identity": _refusing(_identity),
    "source_header": _refusing(_source_header),
    "element_texts": _refusing(_element_texts),
    "intake": _refusing(_intake),
}
