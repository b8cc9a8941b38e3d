"""Progress into a text that a test can read."""

from __future__ import annotations

import io

from rich.console import Console

from training.cli.progress import RunProgress


class Quiet(RunProgress):
    """As without a terminal, into a text."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        super().__init__(Console(file=self._text, width=200))

    @property
    def text(self) -> str:
        return self._text.getvalue()
