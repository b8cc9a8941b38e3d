"""Retry policy: pauses that double, with jitter, until enough time was spent trying."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_FIRST_PAUSE_S: Final = 1.0
_JITTER: Final = 0.5  # a pause is shortened by up to this part, so that jobs that failed together spread out


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Retry policy: the pause before the next attempt, and the time of giving up.

    Attributes:
        max_pause_s: the longest pause.
        give_up_s: a job whose pauses add up to this is not tried again.
    """

    max_pause_s: float
    give_up_s: float

    def pause_s(self, attempt: int) -> float:
        """The pause after try number `attempt`."""
        pause = min(self.max_pause_s, _FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 30))
        return pause * (1 - _JITTER * random.random())  # noqa: S311 - no secret

    def is_exhausted(self, tried_s: float) -> bool:
        """True where enough time was spent trying."""
        return tried_s >= self.give_up_s
