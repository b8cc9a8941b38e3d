"""Translates the exceptions of the libraries that read files into errors of ours, and keeps them quiet."""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import cv2
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.errors import BytesLengthException, InvalidDicomError

from cxrserve.errors import CxrserveError, UnreadableImage

# Named one by one: an exception that is not here passes, and the fuzz tests fail, and somebody looks.
# MemoryError passes too: only the worker knows the limit that was met.
FOREIGN_ERRORS: Final[tuple[type[Exception], ...]] = (
    ArithmeticError,
    AttributeError,  # pydicom, gdcm: a missing element
    BytesLengthException,
    EOFError,
    Image.DecompressionBombError,
    InvalidDicomError,
    LookupError,  # KeyError, IndexError; an unknown character set
    NotImplementedError,
    OSError,  # Pillow: truncated, broken stream
    RecursionError,  # pydicom: sequences nested by the thousand
    RuntimeError,  # openjpeg, jpeg_ls
    SyntaxError,  # Pillow: broken Exif and markers
    TypeError,
    ValueError,  # with UnicodeError
    cv2.error,
    struct.error,
    zlib.error,
)

_CV2_NO_MEMORY: Final = -4  # cv::Error::StsNoMem


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn any foreign error inside into UnreadableImage, and keep the libraries quiet.

    Safe to enter from many threads at once. `what` names the step for the user. The foreign message is left
    out: it may quote the file's text.
    """
    with quiet:
        try:
            yield
        except CxrserveError:
            raise
        except FOREIGN_ERRORS as exc:
            if isinstance(exc, cv2.error) and exc.code == _CV2_NO_MEMORY:
                raise MemoryError from exc
            raise UnreadableImage(
                f"{what} cannot be read ({type(exc).__name__}): the file is damaged or truncated. Send the "
                "image again from its source."
            ) from exc


class _Quiet:
    """Context manager: no warnings, no value validation and no log lines of pydicom while anyone is inside.

    All three are settings of the process. So the first thread that enters changes them and the last one that
    leaves restores them: nobody inside runs without them, and nobody waits for another one's decoding.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._inside = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._change()
            self._inside += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._restore.close()

    def _change(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(disable_value_validation())
            # pydicom logs values that it cannot convert, and those may be a patient's.
            stack.enter_context(_disabled(logging.getLogger("pydicom")))
            self._restore = stack.pop_all()


@contextmanager
def _disabled(logger: logging.Logger) -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


# Also for objects that repeat odd values of an image, such as a UID with leading zeros.
quiet: Final = _Quiet()
