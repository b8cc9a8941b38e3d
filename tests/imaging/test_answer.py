"""A worker that a file has taken over can send anything; none of it is believed."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
import time
from typing import Any

import numpy as np
import pytest

from cxrserve.errors import NotAChestRadiograph, UnreadableImage
from cxrserve.imaging import ipc as wire
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.worker_response import most_answer_bytes, read_answer

PREPROCESSING = Preprocessing(profile="linear", sizes=(2, 4))
CHECK = 256**2  # bytes of the film check's picture


def header(**changes: Any) -> dict[str, Any]:
    about = {"format": "png", "rows": 9, "columns": 8, "photometric_interpretation": "RGB", "bits_stored": 8}
    sound: dict[str, Any] = {
        "about": about,
        "applied": ["a"],
        "warnings": [],
        "timing_ms": {"decode": 1.0},
        "preview": None,
        "retire": False,
    }
    return sound | changes


def test_a_sound_answer() -> None:
    levels, check, preview = bytes(range(20)), bytes([7]) * CHECK, bytes(range(20, 26))
    image = read_answer(header(preview=[3, 2]), bytearray(levels + check + preview), PREPROCESSING, 3)
    assert image.levels[2].tolist() == [[0, 1], [2, 3]]
    assert np.array_equal(image.levels[4].reshape(-1), np.arange(4, 20))
    assert image.preview_HW is not None
    assert image.preview_HW.tolist() == [[20, 21], [22, 23], [24, 25]]
    assert image.check_SS.shape == (256, 256)
    assert (image.check_SS == 7).all()
    assert (image.about.rows, image.applied) == (9, ("a",))
    assert most_answer_bytes(PREPROCESSING, 3) == 29 + CHECK


@pytest.mark.parametrize(
    ("changes", "length", "preview_side"),
    [
        ({}, 19, 0),
        ({}, 21, 0),
        ({"preview": [3, 2]}, 26, 0),
        ({}, 20, 3),
        ({"preview": [4, 2]}, 28, 3),
        ({"preview": [-1, -6]}, 26, 3),
        ({"preview": [0, 3]}, 20, 3),
        ({"preview": [1.5, 2]}, 23, 3),
        ({"about": {"rows": "many"}}, 20, 0),
        ({"about": None}, 20, 0),
        ({"applied": "text"}, 20, 0),
        ({"timing_ms": {"decode": math.nan}}, 20, 0),
        ({"extra": 1}, 20, 0),
        ({"retire": "x" * 9}, 20, 0),
        ({"error": "UnreadableImage"}, 0, 0),
        ({"error": 1, "detail": 2}, 0, 0),
    ],
)
def test_nonsense_is_a_refused_file(changes: dict[str, Any], length: int, preview_side: int) -> None:
    with pytest.raises(UnreadableImage, match="broke down"):
        read_answer(
            header(**changes), bytearray(length + CHECK if length else 0), PREPROCESSING, preview_side
        )


def test_refusals() -> None:
    def refusal(error: str, detail: str) -> dict[str, Any]:
        return {"error": error, "detail": detail, "retire": False}

    with pytest.raises(NotAChestRadiograph, match="a knee"):
        read_answer(refusal("NotAChestRadiograph", "a knee"), bytearray(), PREPROCESSING, 0)
    for error in ("BundleError", "CxrserveError", "SystemExit", "__import__"):
        with pytest.raises(UnreadableImage, match="why"):
            read_answer(refusal(error, "why"), bytearray(), PREPROCESSING, 0)
    with pytest.raises(UnreadableImage, match=r"red$"):
        read_answer(refusal("UnreadableImage", "\x1b[31m\r\nred"), bytearray(), PREPROCESSING, 0)
    with pytest.raises(UnreadableImage, match="broke down"):
        read_answer(refusal("UnreadableImage", "x" * 5000), bytearray(), PREPROCESSING, 0)


def test_messages_arrive_as_they_were_sent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pixels = np.arange(200_000, dtype=np.uint16).reshape(400, 500)
        sending = threading.Thread(target=wire.send, args=(theirs, {"a": [1, None]}, pixels, b"tail"))
        sending.start()
        found, payload = wire.receive(ours, most_payload_bytes=10**6, deadline=time.monotonic() + 5)
        sending.join()
        assert found == {"a": [1, None]}
        assert bytes(payload) == pixels.tobytes() + b"tail"


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("<IQ", 2**31, 0),
        struct.pack("<IQ", 2, 2**40) + b"{}",
        struct.pack("<IQ", 2, 0) + b"[]",
        struct.pack("<IQ", 2, 0) + b"{x",
        struct.pack("<IQ", 2, 0) + b"\xff\xff",
        struct.pack("<IQ", 10, 0) + b"{",
        struct.pack("<IQ", 2, 10) + b"{}short",
        json.dumps({}).encode(),
    ],
)
def test_what_is_no_message_is_an_error(message: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(message)
        with pytest.raises(wire.WireError):
            wire.receive(ours, most_payload_bytes=1000, deadline=time.monotonic() + 1)


def test_silence_and_slowness_end_at_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.receive(ours, most_payload_bytes=0, deadline=started + 0.1)
        with pytest.raises(TimeoutError):
            wire.send(ours, {}, bytes(50_000_000), deadline=started + 0.2)
        with pytest.raises(TimeoutError):
            wire.send(ours, {}, deadline=started)
        assert time.monotonic() - started < 1
    with pytest.raises((wire.WireClosedError, OSError)):
        wire.receive(ours, most_payload_bytes=0)
