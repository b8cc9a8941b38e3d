"""An element that stands twice in a header, which PS3.5 7.1 forbids: all readers agree, or refuse.

One reader that takes the first value and another that takes the last would store an image under one patient
and show it under another.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxrserve.archive.receipt import Source
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.archive.receiving.parse import parse
from cxrserve.errors import UnreadableImage
from cxrserve.imaging.dicom import dataset as dicom_dataset
from cxrserve.imaging.dicom import presentation
from cxrserve.imaging.dicom.identity import identity
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.dicom.source_header import element_texts, source_header
from cxrserve.imaging.limits import Limits
from tests.imaging import makers

PIXELS: Final = makers.radiograph()


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _lut(explanation: str, last: int) -> Dataset:
    item = _item(LUTExplanation=explanation, LUTDescriptor=[4096, 0, 12])
    item.add_new("LUTData", "OW", struct.pack("<4096H", *range(4095), last))
    return item


# Two values of each element that some reader looks at.
VALUES: Final[dict[str, tuple[Any, Any]]] = {
    "SOPClassUID": (makers.CR, makers.DX),
    "SOPInstanceUID": ("1.2.3.4", "1.2.3.5"),
    "StudyInstanceUID": ("1.2.3.1", "1.2.3.9"),
    "SeriesInstanceUID": ("1.2.3.2", "1.2.3.8"),
    "PatientID": ("MRN-0815", "MRN-4711"),
    "PatientName": ("Doe^Jane", "Roe^Rita"),
    "IssuerOfPatientID": ("HOUSE-A", "HOUSE-B"),
    "AccessionNumber": ("ACC-1", "ACC-2"),
    "SpecificCharacterSet": ("ISO_IR 100", "ISO_IR 192"),
    "Modality": ("CR", "DX"),
    "BodyPartExamined": ("CHEST", "THORAX"),
    "ViewPosition": ("PA", "AP"),
    "Rows": (120, 100),
    "PhotometricInterpretation": ("MONOCHROME2", "MONOCHROME1"),
    "PatientOrientation": (["L", "F"], ["R", "F"]),
    "WindowCenter": ("2048", "100"),
    "RequestAttributesSequence": ([_item(AccessionNumber="ACC-1")], [_item(AccessionNumber="ACC-2")]),
    "VOILUTSequence": ([_lut("A", 4095)], [_lut("B", 0)]),
}
SYNTAXES: Final = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
}


def _bare(dataset: Dataset, syntax: str) -> bytes:
    return makers.bare(
        dataset, implicit=syntax == ImplicitVRLittleEndian, little=syntax != ExplicitVRBigEndian
    )


def _file(keyword: str, values: tuple[Any, ...], syntax: str, *, apart: bool, undefined: bool) -> bytes:
    """A film in whose header an element stands once for each of `values`; `apart`: the last at the end."""
    tag = Tag(keyword)
    groups: dict[str, Dataset] = {"before": Dataset(), "after": Dataset(), "pixels": Dataset()}
    pixels = PIXELS.byteswap() if syntax == ExplicitVRBigEndian else PIXELS
    source = makers.dataset(PIXELS, PixelData=pixels.tobytes())
    source["PixelData"].VR = "OW"
    for element in source:
        if element.tag != tag:
            name = "before" if element.tag < tag else "pixels" if element.keyword == "PixelData" else "after"
            groups[name].add(element)
    parts = []
    for value in values:
        alone = _item(**{keyword: value})
        if isinstance(alone[keyword].value, Sequence):
            alone[keyword].is_undefined_length = undefined
        parts.append(_bare(alone, syntax))
    last = parts.pop() if apart and len(parts) > 1 else b""
    body = _bare(groups["before"], syntax) + b"".join(parts) + _bare(groups["after"], syntax)
    body += last + _bare(groups["pixels"], syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflater.compress(body) + deflater.flush()
    return makers.file_of(body, syntax)


def _pixels(data: bytes, folder: Path) -> object:
    radiograph = read_dicom(data, Limits())
    return radiograph.about, radiograph.warnings, bytes(radiograph.pixels_HW.tobytes())


def _intake(data: bytes, folder: Path) -> object:
    with IncomingFile(folder / "incoming.dcm") as file:
        file.write(data)
        file.finish()
        received = parse(file, Source(protocol="stow"), Limits(), None, VALUES)
        return received.header, received.patient, received.traits, received.sop_instance_uid


def _display(data: bytes, folder: Path) -> object:
    shown = presentation.read_presentation(data, Limits())
    tables = [(table.label, table.greys(0, 4095).tobytes()) for table in shown.greyscale.tables]
    return tables, replace(shown, greyscale=replace(shown.greyscale, tables=()))


READERS: Final[dict[str, Callable[[bytes, Path], object]]] = {
    "identity": lambda data, folder: identity(data, Limits()),
    "source header": lambda data, folder: source_header(data, Limits()),
    "texts": lambda data, folder: element_texts(data, VALUES, Limits()),
    "pixels": _pixels,
    "display": _display,
    "intake": _intake,
}


def _outcome(reader: str, data: bytes, folder: Path) -> object:
    """The answer of a reader; "twice" where it refuses for that reason."""
    try:
        return READERS[reader](data, folder)
    except UnreadableImage as error:
        return "twice" if "twice with different values" in error.detail else error.detail


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("keyword", VALUES)
def test_two_values_are_refused_by_every_reader_that_looks(keyword: str, syntax: str, tmp_path: Path) -> None:
    """A reader refuses, or says the same whichever value there is: it does not look at that element."""
    first, second = VALUES[keyword]
    refused = set()
    for reader in READERS:
        for apart in (False, True):
            for undefined in (False, True):

                def said(*values: Any) -> object:
                    data = _file(keyword, values, syntax, apart=apart, undefined=undefined)  # noqa: B023
                    return _outcome(reader, data, tmp_path)  # noqa: B023

                both = said(first, second)
                if both == "twice":
                    refused.add(reader)
                else:
                    assert both == said(first) == said(second), (reader, apart, undefined)
    assert {"texts", "intake"} <= refused


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("keyword", VALUES)
def test_the_same_value_twice_is_read_once(keyword: str, syntax: str, tmp_path: Path) -> None:
    value = VALUES[keyword][0]
    for reader in READERS:
        once, twice = (
            _outcome(reader, _file(keyword, values, syntax, apart=False, undefined=False), tmp_path)
            for values in ((value,), (value, value))
        )
        assert once == twice != "twice", reader


@pytest.mark.parametrize("reader", READERS)
def test_the_same_bytes_under_another_vr_are_another_value(reader: str, tmp_path: Path) -> None:
    """`LO` is text and `OB` is none: one reader would know the patient, another would not."""
    ds = makers.dataset(PIXELS)
    body = makers.bare(ds, implicit=False)
    text = makers.element(0x00100020, b"LO", b"MRN-0815")
    other = makers.element(0x00100020, b"OB", b"MRN-0815")
    data = makers.file_of(body.replace(text, text + other))
    looks = reader not in ("identity", "pixels")
    assert (_outcome(reader, data, tmp_path) == "twice") is looks


@pytest.mark.parametrize("reader", READERS)
def test_a_first_value_that_is_too_long_does_not_make_room_for_a_second(reader: str, tmp_path: Path) -> None:
    """Values beyond a reader's bound are left out; the next one must not take their place."""
    body = makers.bare(makers.dataset(PIXELS), implicit=False)
    for tag, value, long in ((0x0020000D, b"1.2.3.1\0", 100), (0x00100020, b"MRN-0815", 20_000)):
        element = makers.element(tag, b"UI" if long == 100 else b"LO", value)
        first = makers.element(tag, b"UI" if long == 100 else b"LO", b"1" * long)
        data = makers.file_of(body.replace(element, first + element))
        reference = makers.file_of(body)
        outcome = _outcome(reader, data, tmp_path)
        assert outcome in ("twice", _outcome(reader, reference, tmp_path))
        if reader in ("source header", "texts", "intake") or (reader == "identity" and long == 100):
            assert outcome == "twice"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("element", [0x0002, 0x0010])
def test_meta_information_that_says_two_things(reader: str, element: int, tmp_path: Path) -> None:
    other = makers.element(0x00020000 | element, b"UI", b"1.2.840.10008.1.2\0")
    third = makers.element(0x00020000 | element, b"UI", ExplicitVRLittleEndian.encode() + b"\0")
    body = makers.bare(makers.dataset(PIXELS), implicit=False)
    for meta, refused in ((other + third, True), (third + other, True), (third + third, False)):
        data = bytes(128) + b"DICM" + meta + body
        assert (_outcome(reader, data, tmp_path) == "twice") is refused


def test_an_element_that_stands_twice_in_an_item_is_the_same_for_all() -> None:
    """Items are read by one library for all readers, so all see one value."""
    inner = [makers.element(0x00283003, b"LO", value) for value in (b"A ", b"B ")]
    lut = _lut("A", 4095)
    item = makers.bare(lut, implicit=False)
    item = item.replace(inner[0], b"".join(inner))
    body = makers.bare(makers.dataset(PIXELS), implicit=False)
    head = makers.element(0x00283010, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)
    pixels = struct.pack("<HH", 0x7FE0, 0x0010)
    data = makers.file_of(body.replace(pixels, head + pixels))
    seen = {
        str(dcmread(DicomBytesIO(source_header(data))).VOILUTSequence[0].LUTExplanation),
        str(dicom_dataset.parse(data, Limits()).dataset.VOILUTSequence[0].LUTExplanation),
        str(presentation._header(data, Limits()).VOILUTSequence[0].LUTExplanation),
        *element_texts(data, {"VOILUTSequence.LUTExplanation"})["VOILUTSequence.LUTExplanation"],
    }
    assert seen == {"B"}
