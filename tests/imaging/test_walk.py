"""The walk over a data set: what it yields is what pydicom reads, and its cost is bounded."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom.dataset import open_data_set
from cxrserve.imaging.dicom.walk import MAX_DEPTH, MAX_ELEMENTS, Element, walk
from cxrserve.imaging.limits import Limits

_PIXEL_DATA = 0x7FE00010
_VALUES = (("PatientID", "P-01"), ("StudyID", ""), ("Modality", "DX"), ("SOPInstanceUID", "1.2.3"))
_SEQUENCES = ("ReferencedStudySequence", "RequestAttributesSequence", "IconImageSequence")


def _walk(data: bytes, **options: Any) -> list[Element]:
    return list(walk(data, 0, **({"implicit": False, "little": True, "stop_at": _PIXEL_DATA} | options)))


@st.composite
def _data_sets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    dataset = Dataset()
    for keyword, value in draw(st.sets(st.sampled_from(_VALUES))):
        setattr(dataset, keyword, value)
    if depth:
        for keyword in draw(st.sets(st.sampled_from(_SEQUENCES), max_size=2)):
            items = draw(st.lists(_data_sets(depth - 1), max_size=3))
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
            setattr(dataset, keyword, Sequence(items))
            dataset[keyword].is_undefined_length = draw(st.booleans())
    return dataset


@settings(max_examples=60, deadline=None)
@given(
    dataset=_data_sets(),
    syntax=st.sampled_from((ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)),
)
def test_it_finds_the_elements_that_pydicom_finds(dataset: Dataset, syntax: Any) -> None:
    dataset.StudyInstanceUID = "1.2"  # so that none is empty
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=False, implicit_vr=None)
    opened = open_data_set(file.getvalue(), Limits())
    found = walk(
        opened.data, opened.start, implicit=opened.implicit, little=opened.little, stop_at=_PIXEL_DATA
    )
    back = dcmread(BytesIO(file.getvalue()), force=True)
    assert [element.tag for element in found] == [int(element.tag) for element in back]


def _explicit(tag: int, vr: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


def _item(length: int, value: bytes = b"", element: int = 0xE000) -> bytes:
    return struct.pack("<HHL", 0xFFFE, element, length) + value


_ENDLESS = 0xFFFFFFFF
_AFTER = struct.pack("<HH2sH4s", 0x0010, 0x0020, b"LO", 4, b"P-01")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(_item(0, element=0xE0DD), id="delimiter"),
        pytest.param(b"", id="none"),
        pytest.param(bytes(8), id="zeros"),
    ],
)
def test_a_sequence_ends_with_and_without_its_delimiter(end: bytes) -> None:
    inner = struct.pack("<HH2sH2s", 8, 0x0060, b"CS", 2, b"DX")
    items = _item(_ENDLESS, inner) + _item(0, element=0xE00D) + _item(len(inner), inner)
    data = _explicit(0x00081115, b"SQ", _ENDLESS, items + end) + _AFTER
    sequence, after = _walk(data)
    assert (sequence.tag, sequence.undefined, sequence.length) == (0x00081115, True, len(items))
    assert data[after.start : after.start + after.length] == b"P-01"


def test_cut_data_is_reported() -> None:
    with pytest.raises(EOFError):
        _walk(_explicit(0x00081115, b"SQ", _ENDLESS, _item(_ENDLESS)))
    with pytest.raises(EOFError):
        _walk(_AFTER[:-1])


def test_items_without_end_are_refused() -> None:
    data = _explicit(0x00081115, b"SQ", _ENDLESS, _item(0) * (MAX_ELEMENTS + 1))
    with pytest.raises(UnreadableImage, match="more than 50000 elements"):
        _walk(data)


def test_depth_without_end_is_refused() -> None:
    level = _explicit(0x00081115, b"SQ", _ENDLESS, _item(_ENDLESS))
    with pytest.raises(UnreadableImage, match="more than 64 deep"):
        _walk(level * (MAX_DEPTH + 1))


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_any_bytes_end(data: bytes, implicit: bool, little: bool) -> None:
    """No bytes raise anything but the two errors, and no walk goes on for ever."""
    try:
        found = _walk(data, implicit=implicit, little=little)
    except (EOFError, UnreadableImage):
        return
    assert all(element.start + element.length <= len(data) for element in found)
