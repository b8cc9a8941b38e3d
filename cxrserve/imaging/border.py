"""The border: every exception of the libraries that read files becomes one of ours, here and nowhere else."""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
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

    `what` names the step for the user. The foreign message is left out: it may quote the file's text.
    """
    with warnings.catch_warnings(), disable_value_validation(), _silenced("pydicom"):
        warnings.simplefilter("ignore")
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


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    # pydicom logs values it cannot convert, and those may be a patient's.
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
