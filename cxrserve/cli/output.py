"""The file for the answers of `cxrserve predict`: checked first, written beside, renamed at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal

from cxrserve.errors import RequestError

Format = Literal["table", "json", "jsonl", "csv"]

_FORMATS: Final[dict[str, Format]] = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def format_of(output: Path | None) -> Format:
    """The format that the name of the output file stands for; a table for other names and no file."""
    return _FORMATS.get(output.suffix.lower(), "table") if output else "table"


def check_output(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output file that cannot be written, or that is one of the images.

    Raises:
        RequestError: with the reason.
    """
    if output.is_dir():
        raise RequestError(f"--output {output}: this is a folder; name a file")
    if not output.parent.is_dir():
        raise RequestError(f"--output {output}: there is no folder {output.parent}; create it first")
    if output.exists() and any(path.exists() and path.samefile(output) for path in inputs):
        raise RequestError(f"--output {output}: this is one of the images to analyse; name another file")


def check_overlay_folder(folder: Path) -> None:
    """Refuse a folder for overlays that cannot be created.

    Raises:
        RequestError: with the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"--heatmaps {folder}: the folder cannot be created: {error.strerror}; name a folder"
        ) from None


@contextmanager
def opened(output: Path | None) -> Iterator[IO[str]]:
    """The stream for the answers: standard output, or `output`, which is replaced when all are written.

    Until then the answers stand in a file of the same name with `.part` at its end. It stays where the run
    is interrupted after the first answer.

    Raises:
        RequestError: the file cannot be written.
    """
    if output is None:
        yield sys.stdout
        return
    target = output.resolve()  # a link stays a link
    if target.exists() and not target.is_file():  # /dev/stdout, a named pipe
        with target.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    part = target.with_name(f"{target.name}.part")
    try:
        stream = part.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise RequestError(f"--output {output}: {part} cannot be written: {error.strerror}") from None
    try:
        with stream:
            yield stream
    except BaseException:
        if part.stat().st_size == 0:
            part.unlink()
        raise
    part.replace(target)
