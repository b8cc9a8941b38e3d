"""The plan of a bulk run: its names, listed once, its parts, and the parts that remain.

The output folder holds `run.json` (what was run), `manifest.parquet` (the names) and a `part-00042.parquet`
for each part that is done. `run.json` is written after the names, so a folder with it has a complete list.
"""

from __future__ import annotations

import io
from typing import Final, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from cxrserve import __version__
from cxrserve.bulk.output import OutputFolder
from cxrserve.bulk.source import Source
from cxrserve.bundle.contract import load_bundle
from cxrserve.bundle.signature import check_source
from cxrserve.errors import ConfigurationError
from cxrserve.schema import Strict
from cxrserve.settings import Settings
from cxrserve.site.file import read_site

RUN: Final = "run.json"
MANIFEST: Final = "manifest.parquet"
PART_IMAGES: Final = 256


class Run(Strict):
    """The content of `run.json`: everything that decides what the answers are."""

    format: Literal[3] = 3
    source: str
    bundle_sha256: str
    site_sha256: str | None = Field(description="Of the file CXRSERVE_SITE; null without one.")
    engine: str = Field(description="As CXRSERVE_ENGINE.")
    precision: str = Field(description="As CXRSERVE_PRECISION.")
    film_check: str = Field(description="As CXRSERVE_FILM_CHECK.")
    film_check_correct: str = Field(description="As CXRSERVE_FILM_CHECK_CORRECT.")
    dicom: bool = Field(description="Whether DICOM results are made.")
    cxrserve: str = Field(description="Version of cxrserve.")
    part_images: int = Field(description="Number of images in each part but the last.", ge=1)

    @classmethod
    def of(cls, settings: Settings, source: str, *, dicom: bool, part_images: int) -> Self:
        """The run that `settings` mean on this machine.

        Raises:
            ConfigurationError: the bundle or the site file cannot be used.
        """
        return cls(
            source=source,
            bundle_sha256=check_source(load_bundle(settings.bundle), settings).sha256,
            site_sha256=None if settings.site is None else read_site(settings.site)[1],
            engine=settings.engine,
            precision=settings.precision,
            film_check=settings.film_check,
            film_check_correct=settings.film_check_correct,
            dicom=dicom,
            cxrserve=__version__,
            part_images=part_images,
        )

    @classmethod
    def read(cls, output: OutputFolder) -> Self:
        """The run of an output folder.

        Raises:
            ConfigurationError: its file is not there, or was written by another version.
        """
        try:
            return cls.model_validate_json(output.read(RUN))
        except FileNotFoundError:
            raise ConfigurationError(
                f"{output.location}/{RUN} is not there. All machines of a run must reach the same output "
                "folder: name a shared disk or a bucket."
            ) from None
        except ValidationError:
            raise ConfigurationError(
                f"{output.location}/{RUN} was written by another version of cxrserve, whose rows may have "
                "other columns. Name a new folder."
            ) from None

    def differences(self, now: Run) -> str:
        """The difference of `now`, as text; empty where both are the same."""
        old, new = self.model_dump(), now.model_dump()
        return "; ".join(f"{key}: {old[key]} there, {new[key]} now" for key in old if old[key] != new[key])


class Plan:
    """The names of a run and what remains of it.

    Attributes:
        images: number of names.
        parts: number of parts.
    """

    def __init__(self, run: Run, output: OutputFolder, names: pa.ChunkedArray) -> None:
        self.run: Final = run
        self.output: Final = output
        self._names: Final = names
        self.images: Final = len(names)
        self.parts: Final = -(-self.images // run.part_images)

    @classmethod
    def opened(cls, run: Run, source: Source, output: OutputFolder) -> Self:
        """The plan in `output`; made and written there if it is new.

        Raises:
            ConfigurationError: the folder holds another run or other files, or there are no images.
        """
        present = output.names()
        if RUN in present:
            if differences := Run.read(output).differences(run):
                raise ConfigurationError(
                    f"the output folder {output.location} holds another run ({differences}). "
                    "Repeat that run's command, or name a new folder."
                )
            return cls(run, output, pq.read_table(io.BytesIO(output.read(MANIFEST)))["name"])
        if others := sorted(set(present) - {MANIFEST}):
            raise ConfigurationError(
                f"the output folder {output.location} holds other files, {others[0]} among them. "
                "Name a new folder, or one of an earlier run."
            )
        names = pa.chunked_array([pa.array(source.names(), pa.string())])
        if not len(names):
            raise ConfigurationError(f"there are no files in {source.location}.")
        output.write(MANIFEST, parquet(pa.table({"name": names})))
        output.write(RUN, run.model_dump_json(indent=1).encode() + b"\n")
        return cls(run, output, names)

    def remaining(self) -> list[int]:
        """The numbers of the parts that have no file yet."""
        done = set(self.output.names())
        return [part for part in range(self.parts) if part_file(part) not in done]

    def names(self, part: int) -> list[str]:
        """The names of the images of a part."""
        size = self.run.part_images
        names: list[str] = self._names.slice(part * size, size).to_pylist()
        return names

    def images_of(self, parts: list[int]) -> int:
        """Number of images in `parts`."""
        size = self.run.part_images
        return sum(min(size, self.images - part * size) for part in parts)


def part_file(part: int) -> str:
    """The name of a part's file."""
    return f"part-{part:05d}.parquet"


def parquet(table: pa.Table) -> bytes:
    """The table as a Parquet file; the same table gives the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
