"""Imaging raises only its own errors, for any bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import pydicom.errors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit

from cxrserve.errors import CxrserveError, ImageError, UnreadableImage
from cxrserve.imaging import foreign_errors as border
from cxrserve.imaging.foreign_errors import FOREIGN_ERRORS, reading
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.prepare import prepare
from cxrserve.imaging.prepared import PreparedImage
from cxrserve.imaging.pyramid import Preprocessing
from cxrserve.imaging.sniff import sniff
from tests.imaging import bombs, makers

# A flipped size may ask for as much as the limits allow: here little, so that the tests need little.
LIMITS: Final = Limits(max_pixels=200_000, max_inflated_bytes=2**22)
PREPROCESSING: Final = Preprocessing(profile="mimic-cxr-jpg", sizes=(64,))
EIGHT: Final = makers.radiograph(80, 72, bits=8)
TWELVE: Final = makers.radiograph(80, 72)
SEEDS: Final[dict[str, bytes]] = {
    **{UID(syntax).name: makers.dicom(TWELVE, syntax=syntax) for syntax in makers.LOSSLESS_SYNTAXES},
    "JPEG baseline in DICOM": makers.dicom(EIGHT, syntax=JPEGBaseline8Bit, bits=8),
    "no preamble": makers.bare(makers.dataset(TWELVE), implicit=True),
    "JPEG": makers.jpeg(EIGHT),
    "progressive JPEG": makers.jpeg(EIGHT, progressive=True),
    "PNG": makers.png(EIGHT),
    "PNG 16 bit": makers.png(makers.radiograph(80, 72, bits=16)),
}


def attempt(data: bytes) -> PreparedImage | CxrserveError:
    """The image, or our error; anything else fails the test."""
    try:
        return prepare(data, PREPROCESSING, LIMITS)
    except CxrserveError as error:
        refusal = error
    assert 400 <= refusal.http_status < 500
    assert "Doe" not in refusal.detail
    assert "0815" not in refusal.detail
    return refusal


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound file with some bytes changed, cut, doubled or taken out; most of it in the header."""
    data = bytearray(draw(st.sampled_from(sorted(SEEDS.values()))))
    for _ in range(draw(st.integers(1, 4))):
        near = draw(st.booleans())
        at = draw(st.integers(0, min(len(data), 900) - 1 if near else len(data) - 1))
        match draw(st.sampled_from(["flip", "flip", "set", "cut", "remove", "double"])):
            case "flip":
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[at : at + 4] = draw(
                    st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"SQ\0\0"])
                )
            case "cut":
                del data[max(1, at) :]
            case "remove":
                del data[at : at + draw(st.integers(1, 16))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 16))]
        if not data:
            break
    return bytes(data)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(damaged())
def test_damaged_files_end_in_an_image_or_in_our_error(data: bytes) -> None:
    attempt(data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from([b"", b"\0" * 128 + b"DICM", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x08\0\x05\0CS"]),
    st.binary(max_size=400),
)
def test_random_bytes_end_in_our_error(start: bytes, noise: bytes) -> None:
    assert isinstance(attempt(start + noise), CxrserveError)


@pytest.mark.parametrize("name", SEEDS)
def test_every_cut_of_a_header_is_refused(name: str) -> None:
    data = SEEDS[name]
    for end in (*range(1, min(len(data), 700), 7), len(data) // 2):
        assert isinstance(attempt(data[:end]), CxrserveError)


@pytest.mark.parametrize("name", bombs.REFUSED)
def test_bombs_are_refused_without_a_worker_too(name: str) -> None:
    assert isinstance(attempt(bombs.REFUSED[name]()), ImageError | CxrserveError)


def test_a_private_blob_of_ten_megabytes_is_passed_over() -> None:
    body = makers.bare(makers.dataset(TWELVE), implicit=False)
    blob = makers.element(0x00091001, b"OB", bytes(10_000_000))
    assert isinstance(attempt(makers.file_of(blob + body)), PreparedImage)


@pytest.mark.parametrize("charset", [b"ISO_IR 192", b"ISO 2022 IR 87", b"NONSENSE", b"\xff\xfe\0\0"])
def test_character_sets_are_no_reason_to_refuse(charset: bytes) -> None:
    data = makers.with_raw(makers.dataset(TWELVE), 0x00080005, b"CS", charset)
    noisy = data.replace(b"Doe^Jane", b"\xff\x1b$B\n\r\x1b[")
    assert isinstance(attempt(noisy), PreparedImage)


@pytest.mark.parametrize("explicit_under_implicit", [True, False])
def test_sequences_without_their_delimiter(explicit_under_implicit: bool) -> None:
    body = makers.bare(makers.dataset(TWELVE), implicit=explicit_under_implicit)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    open_sequence = makers.element(0x00081140, b"SQ", item, length=0xFFFFFFFF)
    attempt(makers.file_of(open_sequence + body))


def test_text_from_the_file_never_stands_in_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    for tag in (0x00080060, 0x00180015, 0x00280004, 0x00080068, 0x00080016, 0x00280010):
        refusal = attempt(makers.with_raw(makers.dataset(TWELVE), tag, b"CS", b"DOE^JANE KNEE"))
        assert "DOE" not in (refusal.detail if isinstance(refusal, CxrserveError) else "")
    assert caplog.records == []


@pytest.mark.parametrize("foreign", FOREIGN_ERRORS)
def test_the_border_translates(foreign: type[Exception]) -> None:
    with pytest.raises(UnreadableImage, match=foreign.__name__) as caught, reading("this"):
        raise foreign("Doe^Jane")
    assert "Doe" not in caught.value.detail
    assert isinstance(caught.value.__cause__, foreign)


def test_the_border_lets_our_errors_and_memory_pass() -> None:
    for error in (UnreadableImage("ours"), MemoryError()):
        with pytest.raises(type(error)) as caught, reading("this"):
            raise error
        assert caught.value is error


def test_every_error_the_libraries_define_is_translated() -> None:
    """A new one there turns this red: somebody decides where it belongs."""
    defined = [
        value
        for module in (pydicom.errors, Image)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
    ]
    assert len(defined) >= 4
    for error in defined:
        assert issubclass(error, FOREIGN_ERRORS), error


def test_foreign_errors_are_named_in_one_file_only() -> None:
    """Nothing else in imaging catches broadly: the border is one."""
    folder = Path(border.__file__).parent
    for path in folder.rglob("*.py"):
        source = path.read_text()
        assert "except Exception" not in source, path
        assert "except:" not in source, path


def test_seeds_are_sound() -> None:
    for name, data in SEEDS.items():
        assert isinstance(attempt(data), PreparedImage), name
        assert sniff(data) in ("dicom", "jpeg", "png")
    assert ExplicitVRLittleEndian in makers.LOSSLESS_SYNTAXES
