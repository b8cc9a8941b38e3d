"""Who is told how far a run is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Bar(Protocol):
    """One thing that goes on for a while."""

    def update(self, done: int, said: str = "", total: int | None = None) -> None:
        """`done` steps are behind it, of a `total` that may be known only now; `said` stands beside it."""
        ...


class Progress(Protocol):
    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Pass `steps` on, showing each as one of `total`."""
        ...

    def bar(self, what: str, total: int) -> Bar:
        """A bar of its own, for what does not go step by step in one loop."""
        ...

    def say(self, line: str) -> None: ...
