"""Messages of C libraries are captured on any machine, and no file stays open."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.capture_stderr import with_c_messages
from cxrserve.imaging.jpeg import read_jpeg
from cxrserve.imaging.limits import Limits
from tests.imaging import makers

GREY = makers.radiograph(200, 160, bits=8)


def test_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    data = makers.jpeg(GREY)
    assert np.abs(read_jpeg(data, Limits()).pixels_HW.astype(int) - GREY).mean() < 2
    with pytest.raises(UnreadableImage, match="damaged"):
        read_jpeg(data[: len(data) // 2] + b"\xff\xd9", Limits())


def test_the_first_bytes_are_heard_and_no_number_of_them_blocks() -> None:
    def talk() -> int:
        os.write(2, b"first")
        for _ in range(100):
            try:
                os.write(2, bytes(10_000))
            except BlockingIOError:
                return 7
        return 0

    result, messages = with_c_messages(talk)
    assert result == 7
    assert messages.startswith(b"first")
    assert with_c_messages(lambda: None) == (None, b"")


def test_standard_error_comes_back_and_nothing_stays_open(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyError

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with_c_messages(lambda: os.write(2, b"hidden"))
        with pytest.raises(KeyError):
            with_c_messages(fail)
    os.write(2, b"shown")
    assert len(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().err == "shown"
