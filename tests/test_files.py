"""Durable writes: a reader sees the old file or the new one, and an error leaves the old one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxrserve.files import fsync_folder, replace_atomically, write_atomically, write_new


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "é")
    write_atomically(path, b"\xff", mode=0o600)
    assert path.read_bytes() == b"\xff"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), replace_atomically(path) as part:
        part.write_text("half" * 100_000 + "\udc80", "utf-8")
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError), replace_atomically(path):
        pass
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def test_a_new_file_takes_no_other_files_place(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"old")
    fsync_folder(tmp_path)
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
