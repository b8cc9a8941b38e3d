"""Writers of the answers of `cxrserve predict`: lines, tables, JSON, JSON Lines; CSV is `reports.table`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from rich.console import Console

from cxrserve.cli.output import Format, opened
from cxrserve.reports.answer import Answer
from cxrserve.reports.table import CsvWriter, answer_line, answer_table
from cxrserve.reports.triage import TriageAnswer, triage_table

_WIDTH_FOR_SCALES: Final = 110  # columns; with fewer, Rich would break each cell into three lines


class Writer(Protocol):
    """A writer of answers, in the order of the files."""

    def answered(self, path: str, answer: Answer) -> None:
        """Write the answer for a file."""

    def decided(self, path: str, answer: TriageAnswer) -> None:
        """Write the decisions for a file."""

    def refused(self, path: str, reason: str) -> None:
        """Write that a file was not analysed."""


@contextmanager
def opened_writer(format_: Format, output: Path | None, *, several: bool) -> Iterator[Writer]:
    """A writer to the file `output`, or to standard output."""
    with opened(output) as stream:
        match format_:
            case "json":
                writer = _JsonWriter(stream)
                try:
                    yield writer
                finally:
                    writer.close()  # also after Ctrl-C: what was written is valid JSON
            case "jsonl":
                yield _JsonLinesWriter(stream)
            case "csv":
                yield CsvWriter(stream)
            case "table":
                yield _LineWriter(stream) if several else _TableWriter(stream)


class _LineWriter:
    """Writes one line for each of several images: the file, and its positive findings."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def answered(self, path: str, answer: Answer) -> None:
        print(answer_line(path, answer), file=self._stream, flush=True)

    def decided(self, path: str, answer: TriageAnswer) -> None:
        positive = ", ".join(decision.finding for decision in answer.decisions if decision.positive)
        print(f"{path}: {positive or 'no decision is positive'}", file=self._stream, flush=True)

    def refused(self, path: str, reason: str) -> None:
        """Nothing: the refusal is on stderr."""


class _TableWriter:
    def __init__(self, stream: IO[str]) -> None:
        self._console = Console(file=stream)

    def answered(self, path: str, answer: Answer) -> None:
        wide = self._console.width >= _WIDTH_FOR_SCALES
        self._console.print(answer_table(path, answer, with_scales=wide))
        for warning in answer.warnings:
            self._console.print(f"  note: {warning.message}", style="dim", markup=False)

    def decided(self, path: str, answer: TriageAnswer) -> None:
        self._console.print(triage_table(path, answer))
        for warning in answer.warnings:
            self._console.print(f"  note: {warning.message}", style="dim", markup=False)

    def refused(self, path: str, reason: str) -> None:
        """Nothing: the refusal is on stderr."""


class _JsonWriter:
    """Writes one JSON array, item by item."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._before = "[\n"

    def answered(self, path: str, answer: Answer) -> None:
        self._write({"file": path, **answer.model_dump(mode="json")})

    def decided(self, path: str, answer: TriageAnswer) -> None:
        self._write({"file": path, **answer.model_dump(mode="json")})

    def refused(self, path: str, reason: str) -> None:
        self._write({"file": path, "error": reason})

    def _write(self, item: dict[str, object]) -> None:
        self._stream.write(self._before + json.dumps(item, ensure_ascii=False, allow_nan=False))
        self._before = ",\n"

    def close(self) -> None:
        self._stream.write("\n]\n" if self._before == ",\n" else "[]\n")


class _JsonLinesWriter:
    """Writes one JSON object on each line, complete as soon as it is written."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def answered(self, path: str, answer: Answer) -> None:
        self._write({"file": path, **answer.model_dump(mode="json")})

    def decided(self, path: str, answer: TriageAnswer) -> None:
        self._write({"file": path, **answer.model_dump(mode="json")})

    def refused(self, path: str, reason: str) -> None:
        self._write({"file": path, "error": reason})

    def _write(self, item: dict[str, object]) -> None:
        self._stream.write(json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()
