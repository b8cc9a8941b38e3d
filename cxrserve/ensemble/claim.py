"""A claim: a place in the line for an image whose bytes are still on their way."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from cxrserve.ensemble.line import Place, Priority
from cxrserve.errors import LineTooLong

# A place is kept so long for an upload; whoever takes longer asks again once it is whole. Until then the
# others count it as ahead of them, so a slow line must not keep them out for long.
HOLD_S: Final = 1.0


class Limit(NamedTuple):
    """The longest expected wait that is let in, and the setting that says so."""

    seconds: float
    setting: str

    def check(self, wait_s: float) -> None:
        """Is `wait_s` within it? An empty line always is.

        Raises:
            LineTooLong: no; says when it will be if nobody else comes.
        """
        if wait_s > max(0.0, self.seconds):
            raise LineTooLong(
                f"an image that comes now would wait {wait_s:.1f} s for the engines, and "
                f"{max(0.0, self.seconds):.3g} s is the longest here ({self.setting}). "
                "Try again later, or send it as stat where it is urgent.",
                retry_after_s=max(1, math.ceil(wait_s - max(0.0, self.seconds))),
            )


class Owner(Protocol):
    """Who keeps the door: Admission."""

    def confirm(self, claim: Claim) -> None:
        """The bytes are there."""
        ...

    def release(self, claim: Claim) -> None:
        """Nothing came of it."""
        ...


class Claim:
    """A place that counts as taken; a context manager. Made by `Admission.claim`, used by `Batcher.admit`.

    Attributes:
        place: None once an image has taken it.
    """

    def __init__(self, admission: Owner, place: Place, priority: Priority, limit: Limit) -> None:
        self._admission: Final = admission
        self.place: Place | None = place
        self.priority: Final = priority
        self.limit: Final = limit

    def confirm(self) -> None:
        """The upload is whole. Where it took so long that the place was given up, ask for another.

        Raises:
            LineTooLong: there is none within the limit any more.
            NotReady: the service is stopping.
        """
        self._admission.confirm(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place up, unless an image has taken it."""
        self._admission.release(self)
