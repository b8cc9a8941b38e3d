"""Progress of a run: bars with rates and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")
# Without a terminal: a line now and then, not one for each image.
_LINE_EVERY_S: Final = 60.0


class RateColumn(ProgressColumn):
    """Steps a second, or seconds a step where those are long."""

    def render(self, task: Task) -> Text:
        return Text(rate_in_words(task.finished_speed or task.speed), style="dim")


def rate_in_words(speed: float | None) -> str:
    """`speed`, in steps a second, in words."""
    if not speed:
        return ""
    return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"


class RunProgress:
    """Bars on a terminal; on anything else a line for each beginning, and one a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> RunProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def track(self, steps: Iterable[Item], what: str, total: int) -> Iterable[Item]:
        """Pass `steps` on, showing each as one of `total`."""
        bar = None
        for completed, step in enumerate(steps, 1):
            # Only now: what is done already shows no bar.
            bar = bar or self.bar(what, total)
            yield step
            bar.update(completed)

    def bar(self, what: str, total: int) -> RunBar:
        """A bar of its own."""
        if not self._console.is_terminal:
            self.say(f"{what} ({total})")
        return RunBar(self, self._bars, self._bars.add_task(what, total=total, note=""), what, total)

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)

    @property
    def plain(self) -> bool:
        return not self._console.is_terminal


class RunBar:
    """One bar, or the lines in its place."""

    def __init__(self, progress: RunProgress, bars: Progress, task: TaskID, what: str, total: int) -> None:
        self._progress, self._bars, self._task, self._what, self._total = progress, bars, task, what, total
        self._began = self._line = time.monotonic()

    def update(self, completed: int, note: str = "", total: int | None = None) -> None:
        """Show `completed` steps, of a `total` that may be known only now, and `note` beside the bar."""
        self._total = total or self._total
        self._bars.update(self._task, completed=completed, total=self._total, note=note)
        now = time.monotonic()
        if self._progress.plain and now - self._line >= _LINE_EVERY_S and completed < self._total:
            self._line = now
            speed = completed / (now - self._began)
            left_s = (self._total - completed) / speed if speed else 0.0
            self._progress.say(
                f"{self._what}: {completed} of {self._total}, {rate_in_words(speed)}, "
                f"{left_s / 60:.0f} min left"
                f"{', ' + note if note else ''}"
            )
