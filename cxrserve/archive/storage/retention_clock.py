"""Clock of retention: it follows the system's clock, but hardly faster than the station runs.

Retention compares the system's clock with the times at which objects were received. A clock that jumps ahead
would so delete the whole archive. This clock advances with the time for which the station has run, plus a
tenth to catch up with time for which it did not; its last reading lies in the archive folder. A station that
was off for ten days therefore deletes up to ten days late, for a hundred days.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cxrserve.files import write_atomically

_log: Final = logging.getLogger("cxrserve.archive")
FILE: Final = "retention-clock"
_CATCH_UP: Final = 1.1  # seconds for each second that the station runs
_NOTABLE_S: Final = 3600.0


class RetentionClock:
    """Seconds since 1970, which no jump of the system's clock moves ahead. Thread-safe.

    Args:
        folder: of the archive; it holds the last reading.
        latest: the latest time at which something was received, or None; it is where a clock without a
            reading begins.
        wall: the system's clock.
        monotonic: seconds that pass whatever happens to the system's clock.
    """

    def __init__(
        self,
        folder: Path,
        latest: Callable[[], float | None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path: Final = folder / FILE
        self._wall: Final = wall
        self._monotonic: Final = monotonic
        self._lock: Final = threading.Lock()
        reading = self._stored()
        if reading is None:
            reading = min(wall(), latest() or math.inf)
        self._reading = reading  # never goes back
        self._warned = False
        self._base: Final = reading
        self._started: Final = monotonic()

    def received(self) -> float:
        """The time to write down for an object that is received now; a clock that is behind is not believed.

        Otherwise, an object would look old as soon as the clock is right again.
        """
        with self._lock:
            return max(self._wall(), self._base + self._monotonic() - self._started)

    def now(self) -> float:
        """The time to compare with; stores it."""
        with self._lock:
            wall = self._wall()
            reachable = self._base + _CATCH_UP * (self._monotonic() - self._started)
            self._reading = max(self._reading, min(wall, reachable))
            self._warn(wall - self._reading)
            try:
                write_atomically(self._path, f"{self._reading:.0f}\n", mode=0o600)
            except OSError as error:
                _log.warning("%s cannot be written: %s.", FILE, error.strerror)
            return min(wall, self._reading)

    def _warn(self, ahead_s: float) -> None:
        """Warn once that the two clocks differ."""
        notable = abs(ahead_s) > _NOTABLE_S
        if notable and not self._warned:
            _log.warning(
                "the system's clock is %.1f days %s the clock of retention, so images are kept longer. Check "
                "the system's clock. If it is right, because the station was off, the difference shrinks by "
                "itself; to end it at once, stop the station and delete %s in the archive folder.",
                abs(ahead_s) / 86_400, "ahead of" if ahead_s > 0 else "behind", FILE,
            )  # fmt: skip
        self._warned = notable

    def _stored(self) -> float | None:
        try:
            reading = float(self._path.read_text("ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            reading = math.nan
        if not math.isfinite(reading):
            _log.warning("%s in the archive folder cannot be read; it begins again.", FILE)
            return None
        return reading
