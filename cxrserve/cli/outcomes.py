"""The outcome of each file of `cxrserve predict`: an answer, decisions, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rich.console import Console

from cxrserve.bundle.contract import Bundle
from cxrserve.cli.image_files import ImageFile
from cxrserve.cli.writers import Writer
from cxrserve.findings import NAMES
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.answer import Answer
from cxrserve.reports.dicom.page import page
from cxrserve.reports.dicom.summary import finding_summaries
from cxrserve.reports.pictures import Picture, overlay, png
from cxrserve.reports.triage import TriageAnswer
from cxrserve.warnings import ImageWarning

Tally = Literal["answered", "skipped", "refused"]


class Outcome(Protocol):
    """The outcome of one file, counted under `tally`; `work` is the share of the full work of a triage."""

    @property
    def tally(self) -> Tally:
        """The word that it is counted under."""

    @property
    def work(self) -> float | None:
        """The share of the full work; None for a full prediction."""

    @property
    def warnings(self) -> Sequence[str]:
        """The codes of its warnings, each once."""

    def write(self, file: ImageFile, writer: Writer, console: Console) -> None:
        """Write it where its kind belongs: to the answers, to stderr, or both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlays:
    """Heatmaps over one radiograph, to be written below `folder`.

    Attributes:
        one_sheet: all positive findings on one sheet; else a picture of each finding that has a heatmap.
    """

    folder: Path
    reading: Reading
    bundle: Bundle
    one_sheet: bool

    def sheet_of(self, file: ImageFile) -> Path:
        """The file of its sheet."""
        return self.folder / file.overlays.parent / f"{file.overlays.name}.png"

    def save(self, file: ImageFile) -> None:
        """Write FOLDER/FILE.png, or FOLDER/FILE/FINDING.png for each finding."""
        if self.one_sheet:
            sheet = page(self.reading, finding_summaries(self.reading, self.bundle), self.bundle)
            _write(self.sheet_of(file), sheet)
            return
        for index in self.reading.prediction.maps:
            picture = overlay(self.reading, index, self.bundle.contract)
            if picture is not None:
                _write(self.folder / file.overlays / f"{NAMES[index].lower().replace(' ', '-')}.png", picture)


def _write(target: Path, picture: Picture) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(png(picture))


@dataclass(frozen=True, kw_only=True, slots=True)
class Predicted:
    """The probabilities of one image, and its overlays if they were requested."""

    answer: Answer
    overlays: Overlays | None = None
    tally: Tally = "answered"
    work: None = None

    @property
    def warnings(self) -> Sequence[str]:
        """The codes of its warnings, each once."""
        return _codes(self.answer.warnings)

    def write(self, file: ImageFile, writer: Writer, console: Console) -> None:
        """Write the answer and save the overlays."""
        writer.answered(file.label, self.answer)
        if self.overlays is not None:
            self.overlays.save(file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """The decisions of a triage for one image."""

    answer: TriageAnswer
    work: float
    tally: Tally = "answered"

    @property
    def warnings(self) -> Sequence[str]:
        """The codes of its warnings, each once."""
        return _codes(self.answer.warnings)

    def write(self, file: ImageFile, writer: Writer, console: Console) -> None:
        """Write the decisions."""
        writer.decided(file.label, self.answer)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotAnalysed:
    """A file without an answer: an image that was refused, or a file in a folder that is no image."""

    tally: Tally
    reason: str
    work: None = None
    warnings: tuple[str, ...] = ()

    def write(self, file: ImageFile, writer: Writer, console: Console) -> None:
        """Write the reason to stderr; for a refused image to the answers as well."""
        refused = self.tally == "refused"
        if refused:
            writer.refused(file.label, self.reason)
        style = "red" if refused else "dim"
        console.print(f"{self.tally} {file.label}: {self.reason}", style=style, markup=False)


def _codes(warnings: Sequence[ImageWarning]) -> Sequence[str]:
    """The different codes, so that an image counts once for each."""
    return sorted({str(warning.code) for warning in warnings})
