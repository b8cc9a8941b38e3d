"""`cxrserve predict --open`: shows the overlay sheets with the program that this machine has for pictures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cxrserve.errors import RequestError

MAX_SHEETS: Final = 10
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
# A program that cannot show the picture ends at once; one that shows it may stay.
_PATIENCE_S: Final = 5.0


def check_count(files: int) -> None:
    """Refuse to open the sheets of a whole folder.

    Raises:
        RequestError: there are more than ten files.
    """
    if files > MAX_SHEETS:
        raise RequestError(
            f"--open opens at most {MAX_SHEETS} sheets, and there are {files} files: use --heatmaps FOLDER"
        )


def open_sheets(sheets: Sequence[Path], environment: Mapping[str, str] = os.environ) -> str | None:
    """Open each picture.

    Returns:
        None where all are open, else the reason in a sentence.
    """
    program = "open" if sys.platform == "darwin" else "xdg-open"
    if sys.platform != "darwin" and not any(environment.get(name) for name in _DISPLAYS):
        return "this machine has no display (DISPLAY and WAYLAND_DISPLAY are not set)"
    path = shutil.which(program, path=environment.get("PATH"))
    if path is None:
        return f"this machine has no {program} to open it with"
    for sheet in sheets:
        if (reason := _opened(path, sheet)) is not None:
            return reason
    return None


def _opened(program: str, sheet: Path) -> str | None:
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program, with one path that begins with /
            [program, str(sheet.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"{program} cannot be run: {error.strerror}"
    try:
        code = process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return None
    return f"{program} ended with {code}: it knows no program for pictures" if code else None
