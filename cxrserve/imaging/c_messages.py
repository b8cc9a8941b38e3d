"""What C libraries write to standard error: the only place where some say that their answer is wrong."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_STANDARD_ERROR: Final = 2
_MOST_BYTES: Final = 4096


def with_c_messages(call: Callable[[], T]) -> tuple[T, bytes]:
    """The result of `call`, and the first bytes that reached standard error meanwhile.

    It works on the process, not on the thread: for decode workers and data loaders, which have one thread.
    """
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(_STANDARD_ERROR)
        try:
            os.dup2(sink.fileno(), _STANDARD_ERROR)
            result = call()
        finally:
            os.dup2(saved, _STANDARD_ERROR)
            os.close(saved)
        sink.seek(0)
        return result, sink.read(_MOST_BYTES)
