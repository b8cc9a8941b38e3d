"""Protocols for progress reporting, and the progress that shows nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Bar(Protocol):
    """A bar for one task."""

    def update(self, completed: int, note: str = "", total: int | None = None) -> None:
        """Show `completed` steps, of a `total` that may be known only now, and `note` beside the bar."""
        ...


class Progress(Protocol):
    """Shows bars and lines to the user."""

    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Yield each of `steps` and count it in a bar of `total`."""
        ...

    def bar(self, what: str, total: int) -> Bar:
        """A new bar, for a task that is not one loop."""
        ...

    def say(self, message: str) -> None:
        """Print `message`."""
        ...


class Silent:
    """Progress and bar that show nothing, for processes that only help."""

    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """`steps` as they are."""
        return steps

    def bar(self, what: str, total: int) -> Silent:
        """Return the progress itself."""
        return self

    def update(self, completed: int, note: str = "", total: int | None = None) -> None:
        """Do nothing."""

    def say(self, message: str) -> None:
        """Do nothing."""
