"""Names of files on a terminal: no name gives it orders, or looks like two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cxrserve.cli.image_files import image_files


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (b"\x1b[2Jgone.dcm", r"\x1b[2Jgone.dcm"),
        (b"a\nrefused b.dcm", r"a\nrefused b.dcm"),
        (b"\xc2\x9b31m.dcm", r"\x9b31m.dcm"),
        ("\u202egnp.dcm".encode(), r"\u202egnp.dcm"),
        (b"\xff.dcm", r"\udcff.dcm"),
        ("Brust ä [x].dcm".encode(), "Brust ä [x].dcm"),
    ],
)
def test_control_characters_of_a_name_are_escaped(tmp_path: Path, name: bytes, printed: str) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (file,) = image_files([tmp_path])
    assert file.label == f"{tmp_path}/{printed}"
    assert file.path.exists()
