"""The files that `cxrserve predict` analyses: named ones, those in folders, and standard input."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cxrserve.errors import RequestError, TooLarge

STANDARD_INPUT: Final = Path("-")
_IMAGE_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".jpg", ".jpeg", ".png"})
# A file that holds answers may stand in a folder of images and be written again.
_ANSWER_SUFFIXES: Final = frozenset({".csv", ".json", ".jsonl", ".ndjson", ".txt"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFile:
    """A file to analyse.

    Attributes:
        relative: its path below the folder that was named; its name if the file itself was named.
        overlays: the folder for its overlays, below the one for all overlays.
        named: False for a file that was found in a folder and may be anything.
    """

    path: Path
    relative: Path
    label: str
    named: bool
    overlays: Path = Path()


def image_files(paths: Sequence[Path]) -> list[ImageFile]:
    """All files of `paths`, with those in folders, each with its folder for overlays."""
    return _with_overlay_folders(_files(paths))


def _files(paths: Sequence[Path]) -> list[ImageFile]:
    files: list[ImageFile] = []
    for path in paths:
        if path == STANDARD_INPUT:
            files.append(ImageFile(path=path, relative=Path("stdin"), label="-", named=True))
            continue
        if not path.is_dir():
            files.append(ImageFile(path=path, relative=Path(path.name), label=_label(path), named=True))
            continue
        for inside in sorted(path.rglob("*")):
            below = inside.relative_to(path)
            if inside.is_file() and not any(part.startswith(".") for part in below.parts):
                files.append(ImageFile(path=inside, relative=below, label=_label(inside), named=False))
    return files


def _label(path: Path) -> str:
    """The path as text that can be printed anywhere; control characters, and bytes not of UTF-8, are escaped.

    A terminal obeys an escape sequence in a file's name, and a line break looks like another file.
    """
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def read_image(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file, or of standard input for `-`.

    Raises:
        RequestError: there is no such file, it is not a regular file, or it cannot be read.
        TooLarge: it has more than `max_bytes`.
    """
    if path == STANDARD_INPUT:
        data = sys.stdin.buffer.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise TooLarge(f"more than CXRSERVE_MAX_UPLOAD_BYTES={max_bytes} bytes")
        return data
    try:
        if not path.is_file():  # reading a pipe would wait for ever
            raise RequestError("there is no such file" if not path.exists() else "this is not a regular file")
        size = path.stat().st_size
        if size > max_bytes:
            raise TooLarge(f"{size} bytes, more than CXRSERVE_MAX_UPLOAD_BYTES={max_bytes}")
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"the file cannot be read: {error.strerror}") from error


def _with_overlay_folders(files: Sequence[ImageFile]) -> list[ImageFile]:
    """The files, each with its folder for overlays: its path below the named folder, without the suffix.

    Where that would be the same folder for several files, it is the whole path of each.
    """
    short = [_without_suffix(file.relative) for file in files]
    uses = Counter(short)
    return [
        replace(file, overlays=folder if uses[folder] == 1 else _whole(file.path))
        for file, folder in zip(files, short, strict=True)
    ]


def _without_suffix(path: Path) -> Path:
    """The path without the suffix of an image; a UID's last number is no suffix."""
    return path.with_suffix("") if path.suffix.lower() in _IMAGE_SUFFIXES else path


def _whole(path: Path) -> Path:
    return Path(*(part for part in path.parts if part not in ("/", "..", ".")))


def is_old_answer(file: ImageFile, output: Path) -> bool:
    """True for the output file of an earlier run that was found in a folder of images."""
    return (
        not file.named
        and output.suffix.lower() in _ANSWER_SUFFIXES
        and output.exists()
        and file.path.samefile(output)
    )
