"""`cxrserve predict`: analyses many files, one answer each; a bad file does not stop the others."""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console

from cxrserve.cli.image_files import ImageFile, image_files, is_old_answer, read_image
from cxrserve.cli.labelled_films import LabelledFilms
from cxrserve.cli.open_sheets import check_count, open_sheets
from cxrserve.cli.outcomes import Decided, NotAnalysed, Outcome, Overlays, Predicted
from cxrserve.cli.output import Format, check_output, check_overlay_folder
from cxrserve.cli.writers import opened_writer
from cxrserve.ensemble.predictor import Explain, explained
from cxrserve.ensemble.triage import Guarantee
from cxrserve.errors import CxrserveError, RequestError, UnsupportedFormat
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.pipeline.triage import run_triage
from cxrserve.reports.answer import answer
from cxrserve.reports.pictures import OVERLAY_SIDE
from cxrserve.reports.progress import progress_bar
from cxrserve.reports.triage import triage_answer
from cxrserve.settings import Settings

_REMOTE_WINDOW: Final = 4  # requests at a time to a service
_NO_IMAGE: Final = 415


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageOptions:
    """Decide these findings only, or all that the bundle supports if empty, under this guarantee.

    See `cxrserve.ensemble.triage`.
    """

    guarantee: Guarantee
    epsilon: float
    findings: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Analyst:
    """Turns the bytes of a file into an outcome, up to `window` files at a time."""

    analyse: Callable[[bytes, bool], Outcome]
    window: int


def predict_files(
    paths: Sequence[Path],
    settings: Settings,
    *,
    overlays: Path | None,
    explain: str | None,
    format_: Format,
    output: Path | None,
    triage: TriageOptions | None = None,
    url: str | None = None,
    show: bool = False,
) -> bool:
    """Analyse every file of `paths`, and all files in folders, and write the answers.

    Args:
        paths: `-` is standard input.
        overlays: folder for the heatmaps over the radiographs.
        explain: the findings to draw, a picture of each; None: the positive ones, one sheet for each image.
        triage: only decide, under this guarantee; no overlays then.
        url: a running service that analyses; by default this process does.
        show: open the sheet of each image when all are written; without `overlays` in a new folder.

    Returns:
        True if every file was answered. A file found in a folder that is no image is skipped with a
        note; a file that was named and is no image is a failure.

    Raises:
        RequestError: `explain` names a finding that does not exist, options do not go together, or the
            service cannot be reached.
        ConfigurationError: the bundle or the engine cannot be used.
    """
    _check_options(url, triage, overlays, explain, show=show)
    findings = _explain(explain or "positive")
    console = Console(stderr=True, soft_wrap=True)
    labelled = LabelledFilms(paths, console)
    files = [file for file in image_files(paths) if file.named or not labelled.is_table(file.path)]
    if output:
        files = [file for file in files if not is_old_answer(file, output)]
        check_output(output, [file.path for file in files])
    if show:
        check_count(len(files))
        overlays = overlays or Path(tempfile.mkdtemp(prefix="cxrserve-"))  # for this user alone
    if overlays:
        check_overlay_folder(overlays)
    summary = _Summary(labelled=labelled)
    with (
        # First: nothing is written where nothing can start.
        (
            _remote(url, settings)
            if url
            else _local(settings, findings, overlays, triage, one_sheet=explain is None)
        ) as analyst,
        opened_writer(format_, output, several=len(files) > 1) as writer,
        progress_bar(console, transient=True) as progress,
    ):
        bar = progress.add_task("reading", total=len(files))
        for file, outcome in _outcomes(analyst, files, settings.max_upload_bytes):
            outcome.write(file, writer, console)
            summary.add(file, outcome)
            progress.advance(bar)
    summary.print(console)
    if show:
        _show(summary.sheets, console)
    return summary.tally["refused"] == 0 and summary.tally["answered"] > 0


def _check_options(
    url: str | None, triage: TriageOptions | None, overlays: Path | None, explain: str | None, *, show: bool
) -> None:
    if show and (url or triage or explain):
        raise RequestError(
            "--open shows the sheet of all positive findings: leave out --url, --triage and --findings"
        )
    if triage and overlays:
        raise RequestError("--triage computes no heatmaps; leave out --triage or --heatmaps")
    if url and (triage or overlays):
        raise RequestError("--url goes with neither --triage nor --heatmaps; leave it out, or leave them out")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Summary:
    """Counts over all files, printed at the end."""

    labelled: LabelledFilms
    tally: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    shares: list[float] = field(default_factory=list)
    sheets: list[Path] = field(default_factory=list)

    def add(self, file: ImageFile, outcome: Outcome) -> None:
        """Count the outcome of a file."""
        self.tally[outcome.tally] += 1
        self.warnings.update(outcome.warnings)
        if outcome.work is not None:
            self.shares.append(outcome.work)
        if isinstance(outcome, Predicted):
            self.labelled.add(file.path, outcome.answer)
            if outcome.overlays is not None:
                self.sheets.append(outcome.overlays.sheet_of(file))

    def print(self, console: Console) -> None:
        """Print the counts, and the AUC where there are labels."""
        console.print(", ".join(f"{count} {name}" for name, count in self.tally.items()) or "no files")
        for code, count in self.warnings.most_common():
            console.print(f"warning {code}: {count} of {self.tally['answered']} images", markup=False)
        if self.shares:
            mean = sum(self.shares) / len(self.shares)
            console.print(f"{mean:.1%} of the full work on average, {max(self.shares):.1%} at worst")
        self.labelled.show(console)


def _show(sheets: Sequence[Path], console: Console) -> None:
    """Open the sheets; name each, so that whoever has no display finds it, and can delete it."""
    for sheet in sheets:
        console.print(f"sheet {sheet}", markup=False)
    if sheets and (reason := open_sheets(sheets)) is not None:
        console.print(f"not opened: {reason}", style="yellow", markup=False)


@contextmanager
def _local(
    settings: Settings,
    explain: Explain,
    folder: Path | None,
    triage: TriageOptions | None,
    *,
    one_sheet: bool,
) -> Iterator[_Analyst]:
    """Analyses in this process."""
    with Pipeline(settings.model_copy(update={"watch": None})) as pipeline:
        bundle = pipeline.predictor.bundle

        def predict(data: bytes) -> Outcome:
            reading = pipeline.read(
                data, explain=explain if folder else "none", preview_side=OVERLAY_SIDE if folder else 0
            )
            overlays = (
                Overlays(folder=folder, reading=reading, bundle=bundle, one_sheet=one_sheet)
                if folder
                else None
            )
            return Predicted(answer=answer(reading, bundle), overlays=overlays)

        def decide(data: bytes, options: TriageOptions) -> Outcome:
            result = run_triage(
                pipeline,
                data,
                findings=options.findings,
                guarantee=options.guarantee,
                epsilon=options.epsilon,
            )
            return Decided(answer=triage_answer(result, bundle), work=result.triage.work)

        def analyse(data: bytes, named: bool) -> Outcome:
            try:
                return decide(data, triage) if triage else predict(data)
            except CxrserveError as error:
                return _not_analysed(error, named)

        yield _Analyst(analyse=analyse, window=settings.decode_workers + 1)


@contextmanager
def _remote(url: str, settings: Settings) -> Iterator[_Analyst]:
    """Sends the files to a running service.

    Raises:
        RequestError: the package for it is missing, or the service cannot be reached.
    """
    try:
        import httpx

        from cxrserve.client import Client, ServiceError
    except ModuleNotFoundError as error:
        raise RequestError(f"--url needs the package {error.name}: pip install 'cxrserve[client]'") from None

    with Client(url, token=settings.token.get_secret_value() or None) as client:

        def analyse(data: bytes, named: bool) -> Outcome:
            try:
                return Predicted(answer=client.predict(data))
            except ServiceError as error:
                skipped = error.status == _NO_IMAGE and not named
                reason = error.detail if skipped else f"{error.title}: {error.detail}"
                return NotAnalysed(tally="skipped" if skipped else "refused", reason=reason)

        try:
            yield _Analyst(analyse=analyse, window=_REMOTE_WINDOW)
        except httpx.TransportError as error:
            raise RequestError(
                f"--url {url}: the service cannot be reached: {error}. Start it, or correct the address."
            ) from None
        except httpx.InvalidURL as error:
            raise RequestError(f"--url {url}: {error}. Give an address as http://127.0.0.1:8000.") from None


def _not_analysed(error: CxrserveError, named: bool) -> NotAnalysed:
    if isinstance(error, UnsupportedFormat) and not named:
        return NotAnalysed(tally="skipped", reason=str(error))
    return NotAnalysed(tally="refused", reason=f"{error.title}: {error.detail}")


def _explain(text: str) -> Explain:
    try:
        return explained(text)
    except ValueError as error:
        raise RequestError(f"--findings: {error}") from None


def _outcomes(
    analyst: _Analyst, files: Sequence[ImageFile], max_bytes: int
) -> Iterator[tuple[ImageFile, Outcome]]:
    """The outcome of each file, in the order of the files; the next ones decode while the engines work."""
    waiting: deque[tuple[ImageFile, Future[Outcome]]] = deque()
    with ThreadPoolExecutor(analyst.window) as threads:
        for file in files:
            waiting.append((file, threads.submit(_outcome, analyst, file, max_bytes)))
            if len(waiting) > analyst.window:
                first, future = waiting.popleft()
                yield first, future.result()
        for file, future in waiting:
            yield file, future.result()


def _outcome(analyst: _Analyst, file: ImageFile, max_bytes: int) -> Outcome:
    try:
        data = read_image(file.path, max_bytes)
    except CxrserveError as error:
        return _not_analysed(error, file.named)
    return analyst.analyse(data, file.named)
