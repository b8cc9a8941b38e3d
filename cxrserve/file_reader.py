"""`cxrserve predict`: many files, one answer each; a bad one never stops the rest."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from rich.console import Console

from cxrserve.ensemble.decide import Decided, decide
from cxrserve.ensemble.pipeline import Pipeline, Reading
from cxrserve.ensemble.predictor import Explain, explained
from cxrserve.ensemble.triage import Guarantee
from cxrserve.errors import CxrserveError, RequestError, TooLarge, UnsupportedFormat
from cxrserve.findings import NAMES
from cxrserve.reports.answer import Answer, answer
from cxrserve.reports.pictures import OVERLAY_SIDE, overlay, png
from cxrserve.reports.progress import progress_bar
from cxrserve.reports.table import CsvWriter, answer_table
from cxrserve.reports.triage import TriageAnswer, triage_answer, triage_table
from cxrserve.settings import Settings

Format = Literal["table", "json", "csv"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """A file to read. `named` is False for one that was found in a folder and may be anything."""

    path: Path
    label: str
    named: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Triage:
    """Only decide these findings (none: all that the bundle knows) under this guarantee; see
    `cxrserve.ensemble.triage`.
    """

    guarantee: Guarantee
    epsilon: float
    findings: tuple[int, ...] = ()


_Outcome = Reading | Decided | CxrserveError
_Reader = Callable[[bytes], Reading | Decided]


class _Writer(Protocol):
    def answered(self, path: str, answer: Answer) -> None: ...
    def decided(self, path: str, answer: TriageAnswer) -> None: ...
    def refused(self, path: str, reason: str) -> None: ...


def read_files(
    paths: Sequence[Path],
    settings: Settings,
    *,
    overlays: Path | None,
    explain: str,
    format_: Format,
    output: Path | None,
    triage: Triage | None = None,
) -> bool:
    """Read every file of `paths`, folders with all that is in them, and write the answers.

    Args:
        triage: only decide, under this guarantee; no overlays then.

    Returns:
        True where every file was answered. A file found in a folder that is no image at all is
        passed over with a note; one that was named is a failure.

    Raises:
        RequestError: `explain` names a finding that does not exist, or triage was asked to explain.
        ConfigurationError: the bundle or the engine cannot be used.
    """
    if triage and overlays:
        raise RequestError(
            "--triage only decides and makes no heatmaps; leave out one of --triage, --heatmaps"
        )
    wanted: Explain = _explain(explain) if overlays else "none"
    files = list(_files(paths))
    console = Console(stderr=True)
    tally = {"answered": 0, "refused": 0, "passed over": 0}
    shares: list[float] = []
    with (
        _opened(output) as stream,
        Pipeline(settings) as pipeline,
        progress_bar(console, transient=True) as progress,
    ):
        writer = _writer(format_, stream)
        bar = progress.add_task("reading", total=len(files))
        bundle = pipeline.predictor.bundle

        def read(data: bytes) -> Reading | Decided:
            if triage:
                return decide(
                    pipeline,
                    data,
                    findings=triage.findings,
                    guarantee=triage.guarantee,
                    epsilon=triage.epsilon,
                )
            return pipeline.read(data, explain=wanted, preview_side=OVERLAY_SIDE if overlays else 0)

        for file, outcome in _outcomes(pipeline, files, read):
            if isinstance(outcome, Decided):
                tally["answered"] += 1
                shares.append(outcome.triage.work)
                writer.decided(file.label, triage_answer(outcome, bundle))
            elif isinstance(outcome, Reading):
                tally["answered"] += 1
                writer.answered(file.label, answer(outcome, bundle))
                if overlays:
                    _save_overlays(overlays, file, outcome, pipeline)
            elif isinstance(outcome, UnsupportedFormat) and not file.named:
                tally["passed over"] += 1
                console.print(f"passed over {file.label}: {outcome}", style="dim", markup=False)
            else:
                tally["refused"] += 1
                writer.refused(file.label, f"{outcome.title}: {outcome.detail}")
                console.print(f"refused {file.label}: {outcome.title}: {outcome}", style="red", markup=False)
            progress.advance(bar)
        if isinstance(writer, _JsonWriter):
            writer.close()
    console.print(", ".join(f"{count} {what}" for what, count in tally.items() if count) or "no files")
    if shares:
        mean = sum(shares) / len(shares)
        console.print(f"{mean:.1%} of the full work on average, {max(shares):.1%} at worst")
    return tally["refused"] == 0 and tally["answered"] > 0


def _explain(text: str) -> Explain:
    try:
        return explained(text)
    except ValueError as error:
        raise RequestError(f"--findings: {error}") from None


def _files(paths: Sequence[Path]) -> Iterator[_File]:
    for path in paths:
        if not path.is_dir():
            yield _File(path=path, label=_label(path), named=True)
            continue
        for inside in sorted(path.rglob("*")):
            if inside.is_file() and not any(part.startswith(".") for part in inside.relative_to(path).parts):
                yield _File(path=inside, label=_label(inside), named=False)


def _label(path: Path) -> str:
    """The path as text that can be printed anywhere, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _outcomes(pipeline: Pipeline, files: Sequence[_File], read: _Reader) -> Iterator[tuple[_File, _Outcome]]:
    """Each file's reading or error, in the files' order; the next ones decode while the engines work."""
    ahead = pipeline.settings.decode_workers + 1
    waiting: deque[tuple[_File, Future[_Outcome]]] = deque()
    with ThreadPoolExecutor(ahead) as threads:
        for file in files:
            waiting.append((file, threads.submit(_read, pipeline, file.path, read)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for file, future in waiting:
            yield file, future.result()


def _read(pipeline: Pipeline, path: Path, read: _Reader) -> _Outcome:
    most = pipeline.settings.max_upload_bytes
    try:
        if not path.is_file():  # a pipe would be waited for, for ever
            return RequestError(
                "there is no such file" if not path.exists() else "this is not a regular file"
            )
        if path.stat().st_size > most:
            return TooLarge(f"{path.stat().st_size} bytes, more than CXRSERVE_MAX_UPLOAD_BYTES={most}")
        return read(path.read_bytes())
    except OSError as error:
        return RequestError(f"the file cannot be read: {error.strerror}")
    except CxrserveError as error:
        return error


def _save_overlays(folder: Path, file: _File, reading: Reading, pipeline: Pipeline) -> None:
    """`folder`/… the file's own path …/finding.png, so that equal names do not collide."""
    inside = Path(*(part for part in file.path.parts if part not in ("/", "..", ".")))
    for index in reading.prediction.maps:
        picture = overlay(reading, index, pipeline.predictor.bundle.contract)
        if picture is not None:
            target = folder / inside / f"{NAMES[index].lower().replace(' ', '-')}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(png(picture))


def _opened(output: Path | None) -> AbstractContextManager[IO[str]]:
    return output.open("w", encoding="utf-8", newline="") if output else nullcontext(sys.stdout)


def _writer(format_: Format, stream: IO[str]) -> _Writer:
    if format_ == "csv":
        return CsvWriter(stream)
    return _JsonWriter(stream) if format_ == "json" else _TableWriter(stream)


class _TableWriter:
    def __init__(self, stream: IO[str]) -> None:
        self._console = Console(file=stream)

    def answered(self, path: str, answer: Answer) -> None:
        self._console.print(answer_table(path, answer))
        for warning in answer.warnings:
            self._console.print(f"  note: {warning}", style="dim", markup=False)

    def decided(self, path: str, answer: TriageAnswer) -> None:
        self._console.print(triage_table(path, answer))
        for warning in answer.warnings:
            self._console.print(f"  note: {warning}", style="dim", markup=False)

    def refused(self, path: str, reason: str) -> None:
        """Nothing: the refusal already stands on stderr."""


class _JsonWriter:
    """One JSON array, written as the answers come."""

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
