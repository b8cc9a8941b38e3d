"""The progress of a bulk run on the terminal: images, rate, time left, and the counts at the end."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console

from cxrserve.bulk.reader import Tally
from cxrserve.reports.progress import progress_bar


class Progress:
    """A bar on a terminal; elsewhere a line for each part. Use as a context manager.

    Args:
        images: number of images of the `parts` that remain.
    """

    def __init__(self, console: Console, *, images: int, parts: int) -> None:
        self._console: Final = console
        self._images: Final = images
        self._parts: Final = parts
        self._bar: Final = progress_bar(console)
        self._task: Final = self._bar.add_task("reading", total=images)
        self._started = time.monotonic()
        self._seen = 0
        self._done = 0
        self._tally: Final = Tally()

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, images: int = 1) -> None:
        """Count images that were read."""
        self._seen += images
        self._bar.update(self._task, advance=images, description=f"reading, {self._rate():.3g} images/s")

    def part_done(self, tally: Tally) -> None:
        """Count a part that was read and written."""
        self._done += 1
        self._tally.add(tally)
        if not self._console.is_terminal:
            left_s = (self._images - self._seen) / max(self._rate(), 1e-9)
            self._console.print(
                f"part {self._done} of {self._parts} is done; {self._rate():.3g} images/s, "
                f"{_clock(left_s)} left",
                markup=False,
                highlight=False,
            )

    def _rate(self) -> float:
        return self._seen / max(time.monotonic() - self._started, 1e-9)

    def summarise(self) -> None:
        """Print the counts of all parts."""
        status = self._tally.status
        lines = [", ".join(f"{count} {name}" for name, count in status.most_common())]
        lines += [
            f"warning {code}: {count} of {status['ok']} images"
            for code, count in self._tally.warnings.most_common()
        ]
        lines += [
            f"without DICOM results: {count} of {status['ok']} images: {reason}"
            for reason, count in self._tally.without_results.most_common()
        ]
        for line in lines:
            self._console.print(line, markup=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
