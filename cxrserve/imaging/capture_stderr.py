"""Captures what C libraries write to standard error; some report a wrong result only there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_STANDARD_ERROR: Final = 2
_MAX_BYTES: Final = 4096  # what any pipe holds


def with_c_messages(call: Callable[[], T]) -> tuple[T, bytes]:
    """The result of `call`, and the first bytes that reached standard error meanwhile.

    It works on the process, not on the thread: for decode workers and data loaders, which have one thread.
    They go through a pipe, which needs no disk and no folder: where a file has no room, a message is lost,
    and half a picture passes for a whole one.
    """
    messages, sink = os.pipe()
    saved = os.dup(_STANDARD_ERROR)
    try:
        try:
            os.set_blocking(sink, False)  # what is beyond the pipe's room is dropped
            os.dup2(sink, _STANDARD_ERROR)
            result = call()
        finally:
            os.dup2(saved, _STANDARD_ERROR)
            os.close(saved)
            os.close(sink)
        return result, os.read(messages, _MAX_BYTES)
    finally:
        os.close(messages)
