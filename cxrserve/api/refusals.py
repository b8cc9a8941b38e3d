"""Counts the refused tokens of each address, and slows that address and its log lines down."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_WINDOW_S: Final = 60.0
_FREE: Final = 5  # refusals within a window that are answered and logged at once
_DELAY_S: Final = 1.0
_MAX_ADDRESSES: Final = 4096
_access: Final = logging.getLogger("cxrserve.access")


@dataclass(slots=True)
class _Window:
    started_s: float
    refused: int = 0


class RefusalCounter:
    """Refused tokens by address, within the last minute. Used on the event loop alone."""

    def __init__(self) -> None:
        self._windows: Final[OrderedDict[str, _Window]] = OrderedDict()

    def count(self, address: str) -> float:
        """Count one refusal. Returns the seconds to wait before it is answered; 0 for the first few.

        From then on only each power of ten is logged, so that guessing fills no disk.
        """
        now_s = time.monotonic()
        window = self._windows.get(address)
        if window is None or now_s - window.started_s > _WINDOW_S:
            window = self._windows[address] = _Window(now_s)
        self._windows.move_to_end(address)
        if len(self._windows) > _MAX_ADDRESSES:
            self._windows.popitem(last=False)
        window.refused += 1
        if window.refused <= _FREE:
            return 0.0
        if str(window.refused).strip("0") == "1":
            _access.warning("address=%s refused=%d outcome=unauthorized", address or "-", window.refused)
        return _DELAY_S
