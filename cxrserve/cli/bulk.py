"""`cxrserve predict SOURCE --format parquet`: a whole archive of images, in parts, into a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cxrserve.errors import RequestError
from cxrserve.settings import Settings

if TYPE_CHECKING:
    from cxrserve.bulk.source import Source

_DICOM_WEB: Final = "dicomweb:"
_EXTRAS: Final = {"pyarrow": "bulk", "ray": "ray", "pandas": "ray", "dicomweb_client": "pacs", "yaml": "pacs"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveOptions:
    """Options of the command that have a meaning for archives alone. As `cxrserve.bulk.run.Options`."""

    dicom: str | None
    ray: str | None
    give_up: int | None

    def refuse(self) -> None:
        """Check that none is set.

        Raises:
            RequestError: one is.
        """
        names = {"--dicom": self.dicom, "--ray": self.ray, "--give-up": self.give_up}
        for name, value in names.items():
            if value is not None:
                raise RequestError(f"{name} is for archives; it needs --format parquet --output FOLDER")


def predict_archive(
    sources: Sequence[str],
    output: str | None,
    settings: Settings,
    options: ArchiveOptions,
    *,
    other_options: Mapping[str, object],
) -> bool:
    """Analyse all images of the one source and write their rows to the folder `output`.

    Args:
        other_options: options of the command that have no meaning here, by name; all must be empty.

    Returns:
        False where parts were given up.

    Raises:
        RequestError: an option is missing or has no meaning here, or a package is not installed.
        ConfigurationError: the source, the bundle or the output folder cannot be used.
    """
    for name, value in other_options.items():
        if value is not None:
            raise RequestError(f"--format parquet writes rows alone; leave out {name}")
    if output is None:
        raise RequestError("--format parquet needs --output FOLDER, a new one or that of an earlier run")
    if len(sources) != 1:
        raise RequestError(
            "--format parquet takes one folder, one s3:// or gs:// address, or dicomweb:SERVER, "
            f"not {len(sources)}"
        )
    if options.give_up is not None and options.ray is None:
        raise RequestError("--give-up needs --ray; on one machine an error ends the run")
    try:
        from cxrserve.bulk import run

        return run.predict_in_parts(
            _source(sources[0], settings),
            settings,
            output,
            run.Options(dicom=options.dicom, ray=options.ray, give_up=options.give_up or 0),
        )
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise RequestError(
            f"this needs the package {package}: pip install 'cxrserve[{_EXTRAS[package]}]'"
        ) from None


def _source(location: str, settings: Settings) -> Source:
    if location.startswith(_DICOM_WEB):
        from cxrserve.pacs.web_source import web_source

        return web_source(location.removeprefix(_DICOM_WEB), settings.rules)
    from cxrserve.bulk.source import open_source

    return open_source(location)
