"""Places and memory for bodies on their way in or out, shared fairly between the addresses of the clients.

A slow client holds a place and memory for as long as its body takes. So one address gets at most half of the
places and half of the memory, and a body must keep up a minimum rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from cxrserve.errors import Overloaded

_GRACE_S: Final = 5.0  # a body may be slower than the minimum rate by this time in all


class Memory:
    """One budget of bytes for all uploads, displayed images and downloads. Used on the event loop alone.

    Args:
        max_bytes: of all together; half of it for one address. One body always fits.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes: Final = max_bytes
        self._by_address: Final[Counter[str]] = Counter()
        # Gives back memory that is held only in case it is needed; False if there is none.
        self.spare: Callable[[], bool] = lambda: False

    @property
    def used_bytes(self) -> int:
        """Bytes that are held now."""
        return self._by_address.total()

    def change(self, address: str, before: int, after: int) -> None:
        """Hold `after` bytes instead of `before`.

        Raises:
            Overloaded: they do not fit beside those of the other bodies.
        """
        while after > before and not self._fits(address, before, after):
            if not self.spare():
                raise Overloaded(
                    "the memory for uploads and downloads is in use (CXRSERVE_TRANSFER_BYTES). "
                    "Try again later."
                )
        own = self._by_address[address] - before
        if own + after:
            self._by_address[address] = own + after
        else:
            self._by_address.pop(address, None)

    def _fits(self, address: str, before: int, after: int) -> bool:
        own, total = self._by_address[address] - before, self.used_bytes - before
        too_much = own and own + after > self._max_bytes // 2
        return not (too_much or (total and total + after > self._max_bytes))


class Transfers:
    """Places of one kind of request. Used on the event loop alone.

    Args:
        limit: transfers at once; half of them, rounded up, for one address.
        setting: the setting that defines `limit`, for the message.
    """

    def __init__(self, memory: Memory, *, limit: int, setting: str) -> None:
        self._memory: Final = memory
        self._limit: Final = limit
        self._setting: Final = setting
        self._by_address: Final[Counter[str]] = Counter()

    def begin(self, address: str) -> Transfer:
        """Take one of the transfers.

        Raises:
            Overloaded: all are in use, or half of them by this address.
        """
        total = self._by_address.total()
        if total >= self._limit or self._by_address[address] >= (self._limit + 1) // 2:
            raise Overloaded(
                f"{total} requests send or read a body, {self._by_address[address]} of them from this "
                f"address; the maximum is {self._limit}, and half of it for one address "
                f"({self._setting}). Try again later."
            )
        self._by_address[address] += 1
        return Transfer(self, self._memory, address)

    def end(self, address: str) -> None:
        """Give a place back."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class Transfer:
    """One body on its way, with its place and its memory; a context manager."""

    def __init__(self, transfers: Transfers, memory: Memory, address: str) -> None:
        self._transfers: Final = transfers
        self._memory: Final = memory
        self._address: Final = address
        self._bytes = 0
        self._has_place = True
        self._kept = False

    def hold(self, size: int) -> None:
        """Hold memory for `size` bytes in all.

        Raises:
            Overloaded: there is no memory for so many.
        """
        self._memory.change(self._address, self._bytes, size)
        self._bytes = size

    def hold_at_least(self, size: int) -> None:
        """As `hold`, but never give memory back."""
        if size > self._bytes:
            self.hold(size)

    def arrived(self) -> None:
        """Give the place back; the memory stays. Idempotent."""
        if self._has_place:
            self._has_place = False
            self._transfers.end(self._address)

    def keep(self) -> None:
        """Hold both beyond the end of the `with` block, until `release`."""
        self._kept = True

    def release(self) -> None:
        """Give both back. Idempotent."""
        self.arrived()
        self.hold(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self.release()


class Pace:
    """The deadline of a body: the time limit of the whole, and the minimum rate.

    Args:
        now_s: the time at which the body starts.
        timeout_s: the limit of the whole body.
        bytes_per_s: the minimum rate, on average, after a grace of five seconds.
    """

    def __init__(self, now_s: float, *, timeout_s: float, bytes_per_s: int) -> None:
        self._start_s = now_s
        self._timeout_s: Final = timeout_s
        self._bytes_per_s: Final = bytes_per_s
        self._bytes = 0

    def moved(self, size: int) -> None:
        """Note that `size` more bytes were sent or received."""
        self._bytes += size

    def paused(self, seconds: float) -> None:
        """Add time that was this service's own."""
        self._start_s += seconds

    @property
    def deadline_s(self) -> float:
        """The time at which the body is given up, unless more bytes come before."""
        return self._start_s + min(self._timeout_s, _GRACE_S + self._bytes / self._bytes_per_s)
