"""Waits of the tests: until another thread or process has brought something about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE_S: Final = 120.0

Found = TypeVar("Found")


def until(condition: Callable[[], Found | None], timeout_s: float = PATIENCE_S) -> Found:
    """Wait until `condition` is true, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)
    return found
