"""DICOM results of a bulk run: overlay, presentation state and report of each image, in a folder beside.

Below the folder, `ab/<sha256>/` holds the results of the image with that SHA-256: `overlay.dcm`,
`presentation-state.dcm` and, last, `report.dcm`. `results.json` says which run they are of and the time that
is written into them, so that an image that is read twice gets the same objects, byte for byte.
"""

from __future__ import annotations

import datetime
import hashlib
from typing import Final

from pydantic import ValidationError

from cxrserve.bulk.output import OutputFolder
from cxrserve.bulk.plan import Run
from cxrserve.errors import ConfigurationError, ImageError
from cxrserve.pipeline.pipeline import Pipeline, Reading
from cxrserve.reports.dicom import image_results, load_reports, read_source, study_report
from cxrserve.schema import Strict

RESULTS: Final = "results.json"
_HEADER_TIMEOUT_S: Final = 600.0


class ResultsRun(Strict):
    """The content of `results.json`."""

    run: Run
    when: datetime.datetime


class DicomResults:
    """The folder of the results. Thread-safe; may be sent to other processes with pickle."""

    def __init__(self, output: OutputFolder, when: datetime.datetime) -> None:
        self._output: Final = output
        self._when: Final = when

    @classmethod
    def opened(cls, run: Run, output: OutputFolder) -> DicomResults:
        """The results of `run` in the folder `output`, begun there if it is new.

        Raises:
            ConfigurationError: the folder holds results of another run, or other files.
        """
        present = output.names()
        if RESULTS in present:
            try:
                before = ResultsRun.model_validate_json(output.read(RESULTS))
            except ValidationError:
                raise ConfigurationError(
                    f"{output.location}/{RESULTS} was written by another version of cxrserve. "
                    "Name a new folder for --dicom."
                ) from None
            if differences := before.run.differences(run):
                raise ConfigurationError(
                    f"the folder {output.location} holds results of another run ({differences}). "
                    "Name a new folder for --dicom."
                )
            return cls(output, before.when)
        if present:
            raise ConfigurationError(
                f"the folder {output.location} holds other files, {min(present)} among them. "
                "Name a new folder for --dicom."
            )
        when = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        output.write(RESULTS, ResultsRun(run=run, when=when).model_dump_json(indent=1).encode() + b"\n")
        return cls(output, when)

    def write(self, data: bytes, reading: Reading, pipeline: Pipeline) -> str | None:
        """Write the results of one image, if they are not there.

        Args:
            data: the image's file.
            reading: with a preview and heatmaps.

        Returns:
            why the image can have no results; None where it has them.

        Raises:
            ConfigurationError: they cannot be written.
        """
        if reading.image.about.format != "dicom":
            return "no DICOM file"
        folder = folder_of(hashlib.sha256(data).hexdigest())
        if self._output.has(f"{folder}/report.dcm"):
            return None
        load_reports()
        bundle = pipeline.predictor.bundle
        try:
            source = read_source(pipeline.header(data, timeout_s=_HEADER_TIMEOUT_S))
        except ImageError as error:
            return error.detail
        summary, objects = image_results(source, reading, bundle, when=self._when)
        report = study_report([source], [summary], [], bundle, when=self._when)
        for result in (*objects, report):
            self._output.write(f"{folder}/{result.kind}.dcm", result.part10)
        return None


def folder_of(sha256: str) -> str:
    """The folder of the results of the image with this SHA-256."""
    return f"{sha256[:2]}/{sha256}"
