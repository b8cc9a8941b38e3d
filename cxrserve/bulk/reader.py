"""The reader of parts: it analyses the images of a part and writes the part's file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self

from cxrserve.bulk.dicom_results import DicomResults
from cxrserve.bulk.output import OutputFolder
from cxrserve.bulk.plan import Run, parquet, part_file
from cxrserve.bulk.rows import answered, refused, table_of
from cxrserve.bulk.source import Source
from cxrserve.errors import ConfigurationError, DecoderFailed, ImageError, RequestError
from cxrserve.pipeline.pipeline import Pipeline
from cxrserve.reports.answer import answer
from cxrserve.reports.pictures import OVERLAY_SIDE
from cxrserve.settings import Settings

_DECODER_TRIES: Final = 2  # a decode worker may also die of the machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The work of a run without its names; may be sent to other processes with pickle."""

    run: Run
    source: Source
    output: OutputFolder
    dicom: DicomResults | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts over the images of a part.

    Attributes:
        status: images by status: "ok", or the slug of the problem.
        warnings: images by warning code.
        without_results: analysed images that can have no DICOM results, by the reason.
    """

    status: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    without_results: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> str:
        """The counts as text, for another process."""
        return json.dumps([self.status, self.warnings, self.without_results])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The counts that `to_json` wrote."""
        status, warnings, without_results = json.loads(text)
        return cls(
            status=Counter(status), warnings=Counter(warnings), without_results=Counter(without_results)
        )

    def add(self, other: Tally) -> None:
        """Add the counts of another part."""
        self.status.update(other.status)
        self.warnings.update(other.warnings)
        self.without_results.update(other.without_results)


class PartReader:
    """Reads parts with a pipeline of its own.

    Raises on construction:
        BundleError, EngineError: as `Pipeline`.
        ConfigurationError: on this machine the settings mean another run, or the output folder is not there.
    """

    def __init__(self, settings: Settings, work: Work) -> None:
        run = work.run
        here = Run.of(settings, run.source, dicom=run.dicom, part_images=run.part_images)
        if differences := run.differences(here) or Run.read(work.output).differences(run):
            raise ConfigurationError(
                f"this machine would answer otherwise than the run in {work.output.location} "
                f"({differences}). All machines of a run need the same version, bundle and settings."
            )
        self._work: Final = work
        self._pipeline: Final = Pipeline(settings.model_copy(update={"watch": None}))

    def read(self, part: int, names: Sequence[str], advance: Callable[[], None] = lambda: None) -> Tally:
        """Analyse the images of a part and write its file.

        Args:
            names: of the images of the part.
            advance: called after each image.

        Raises:
            EngineLost: a device failed permanently; the part has no file then.
            ConfigurationError: the file cannot be written.
            CxrserveError: the source does not answer any more.
        """
        tally = Tally()
        rows = []
        for row, without_results in self._rows(names):
            rows.append(row)
            tally.status[row["status"]] += 1
            tally.warnings.update(row.get("warnings", ()))
            if without_results is not None:
                tally.without_results[without_results] += 1
            advance()
        choice = self._pipeline.predictor.choice
        engine = f"{choice.name} {choice.version} {self._pipeline.predictor.precision}"
        self._work.output.write(part_file(part), parquet(table_of(rows, {"engine": engine})))
        return tally

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], str | None]]:
        """The outcome of each name, in their order; the next images are decoded while the engines work."""
        ahead = self._pipeline.settings.decode_workers + 1
        waiting: deque[Future[tuple[dict[str, Any], str | None]]] = deque()
        with ThreadPoolExecutor(ahead) as threads:
            for name in names:
                waiting.append(threads.submit(self._row, name))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            for future in waiting:
                yield future.result()

    def _row(self, name: str) -> tuple[dict[str, Any], str | None]:
        """The row of an image, and why an image that was analysed has no DICOM results."""
        try:
            data = self._work.source.read(name, self._pipeline.settings.max_upload_bytes)
        except RequestError as error:
            return refused(name, None, error), None
        sha256 = hashlib.sha256(data).hexdigest()
        for tried in range(1, _DECODER_TRIES + 1):
            try:
                return self._analysed(name, data, sha256)
            except DecoderFailed as error:
                if tried == _DECODER_TRIES:
                    return refused(name, sha256, error), None
            except (ImageError, RequestError) as error:
                return refused(name, sha256, error), None
        raise AssertionError

    def _analysed(self, name: str, data: bytes, sha256: str) -> tuple[dict[str, Any], str | None]:
        dicom = self._work.dicom
        reading = self._pipeline.read(
            data, explain="none" if dicom is None else "positive", preview_side=OVERLAY_SIDE if dicom else 0
        )
        without_results = None if dicom is None else dicom.write(data, reading, self._pipeline)
        return answered(name, sha256, answer(reading, self._pipeline.predictor.bundle)), without_results

    def close(self) -> None:
        """Stop the pipeline: its threads and decode workers. Idempotent."""
        self._pipeline.close()
