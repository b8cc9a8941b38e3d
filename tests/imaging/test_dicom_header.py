"""DICOM headers that are refused: each with its error class and both values in the reason."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from cxrserve.errors import (
    CxrserveError,
    NotAChestRadiograph,
    NotForPresentation,
    TooLarge,
    UnreadableImage,
    UnsupportedImage,
)
from cxrserve.imaging.dicom.read import read_dicom
from cxrserve.imaging.limits import Limits
from cxrserve.imaging.radiograph import Radiograph
from tests.imaging import makers


def read(pixels: makers.Pixels | None = None, *, bits: int = 12, **elements: Any) -> Radiograph:
    pixels = makers.radiograph(bits=bits) if pixels is None else pixels
    return read_dicom(makers.write(makers.dataset(pixels, bits=bits, **elements)), Limits())


def refused(expected: type[CxrserveError], match: str, **elements: Any) -> str:
    with pytest.raises(expected, match=match) as caught:
        read(**elements)
    assert type(caught.value) is expected
    assert "Doe" not in caught.value.detail
    assert "0815" not in caught.value.detail
    return caught.value.detail


@pytest.mark.parametrize(
    ("modality", "sop_class"),
    [
        ("CT", "1.2.840.10008.5.1.4.1.1.2"),
        ("MR", "1.2.840.10008.5.1.4.1.1.4"),
        ("US", "1.2.840.10008.5.1.4.1.1.6.1"),
        ("NM", "1.2.840.10008.5.1.4.1.1.20"),
        ("PT", "1.2.840.10008.5.1.4.1.1.128"),
        ("MG", "1.2.840.10008.5.1.4.1.1.1.2"),
        ("IO", "1.2.840.10008.5.1.4.1.1.1.3"),
        ("XA", "1.2.840.10008.5.1.4.1.1.12.1"),
        ("RF", "1.2.840.10008.5.1.4.1.1.12.2"),
        ("SEG", "1.2.840.10008.5.1.4.1.1.66.4"),
        ("RTDOSE", "1.2.840.10008.5.1.4.1.1.481.2"),
        ("SR", "1.2.840.10008.5.1.4.1.1.88.33"),
        ("DOC", "1.2.840.10008.5.1.4.1.1.104.1"),
    ],
)
def test_other_objects_and_modalities_are_refused_by_name(modality: str, sop_class: str) -> None:
    refused(NotAChestRadiograph, sop_class.replace(".", r"\."), SOPClassUID=sop_class, Modality=modality)
    refused(NotAChestRadiograph, f"Modality is {modality}", Modality=modality)
    refused(
        NotAChestRadiograph,
        f"Modality is {modality}",
        Modality=modality,
        SOPClassUID=makers.SECONDARY_CAPTURE,
    )


def test_a_modality_outside_the_standard_is_not_quoted() -> None:
    assert "JANE" not in refused(NotAChestRadiograph, "Modality is none", Modality="DOE JANE")


@pytest.mark.parametrize(
    "body_part",
    [
        "CHEST",
        "THORAX",
        "LUNG",
        "HEART",
        "RIBS",
        "",
        "CHEST PA",
        "Thorax a.p.",
        "BRUSTKORB",
        "CHEST^SPINE",
    ],
)
def test_chest_unknown_and_absent_body_parts_are_taken(body_part: str) -> None:
    found = read_dicom(_with_body_part(body_part), Limits())
    assert found.warnings == ()


@pytest.mark.parametrize(
    "body_part",
    ["KNEE", "SKULL", "C SPINE", "L-SPINE", "Hand left", "ABDOMEN", "PELVIS", "EXTREMITY"],
)
def test_other_body_parts_are_refused(body_part: str) -> None:
    with pytest.raises(NotAChestRadiograph, match=r"BodyPartExamined names another part \([A-Z]+\);"):
        read_dicom(_with_body_part(body_part), Limits())


def _with_body_part(body_part: str) -> bytes:
    return makers.with_raw(makers.dataset(makers.radiograph()), 0x00180015, b"CS", body_part.encode())


def test_the_anatomic_region_counts_where_there_is_no_body_part() -> None:
    refused(NotAChestRadiograph, "knee", BodyPartExamined=None, AnatomicRegionSequence=_region("72696002"))
    chest = read(
        BodyPartExamined=None,
        AnatomicRegionSequence=_region("51185008"),
        SOPClassUID=makers.SECONDARY_CAPTURE,
        Modality="OT",
    )
    assert chest.about.rows == 120


def _region(code: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "region"
    return Sequence([item])


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RLD", ""])
def test_all_views_are_taken(view: str) -> None:
    assert read(ViewPosition=view).about.view_position == (view or None)


def test_a_view_outside_the_standard_is_not_repeated() -> None:
    assert read(ViewPosition="DOE JANE").about.view_position is None


def test_a_secondary_capture_needs_something_that_speaks_for_a_chest() -> None:
    capture: dict[str, Any] = {"SOPClassUID": makers.SECONDARY_CAPTURE, "Modality": "OT"}
    read(**capture)
    refused(NotAChestRadiograph, "no body part says chest", **capture, BodyPartExamined="")
    read(SOPClassUID=makers.SECONDARY_CAPTURE, Modality="DX", BodyPartExamined="")
    read(SOPClassUID="1.2.276.0.19.55.1.5.1.1.1", Modality="CR", BodyPartExamined="")
    read(SOPClassUID=makers.DX, Modality=None, BodyPartExamined="")


def test_for_processing_is_refused() -> None:
    refused(
        NotForPresentation, "FOR PROCESSING", SOPClassUID=makers.DX, PresentationIntentType="FOR PROCESSING"
    )
    refused(NotForPresentation, "FOR PROCESSING", SOPClassUID=makers.DX_PROCESSING)
    read(SOPClassUID=makers.DX, PresentationIntentType="FOR PRESENTATION")


_RGB: Final = {"PhotometricInterpretation": "RGB"}


@pytest.mark.parametrize(
    "elements",
    [
        {"NumberOfFrames": 0},
        {"SamplesPerPixel": None},
        {"BitsStored": None},
        {"BitsStored": None, "HighBit": None},
    ],
)
def test_headers_that_leave_out_what_is_plain(elements: dict[str, Any]) -> None:
    assert np.array_equal(read(**elements).pixels_HW, makers.radiograph())


@pytest.mark.parametrize("written", [b"monochrome1", b"MONOCHROME1 ", b" Monochrome1"])
def test_photometric_interpretations_are_read_in_any_case(written: bytes) -> None:
    data = makers.with_raw(makers.dataset(makers.radiograph()), 0x00280004, b"CS", written)
    assert read_dicom(data, Limits()).white_is_low


@pytest.mark.parametrize(
    ("error", "match", "elements"),
    [
        (UnsupportedImage, "2 frames", {"NumberOfFrames": 2}),
        (UnsupportedImage, "100000000 frames", {"NumberOfFrames": 100_000_000}),
        (UnreadableImage, "SamplesPerPixel is missing", {"SamplesPerPixel": None, **_RGB}),
        (UnreadableImage, "0 to 2047", {"BitsStored": None, "HighBit": 10}),
        (UnreadableImage, "Rows is missing", {"Rows": None}),
        (UnreadableImage, "0 × 100", {"Rows": 0}),
        (NotAChestRadiograph, "120 × 63", {"Columns": 63}),
        (UnreadableImage, "24000 bytes.*need 13107000", {"Rows": 65535}),
        (TooLarge, "65535 × 65535 = 4294836225", {"Rows": 65535, "Columns": 65535}),
        (UnsupportedImage, "BitsAllocated is 1;", {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}),
        (UnsupportedImage, "BitsAllocated is 32", {"BitsAllocated": 32}),
        (UnsupportedImage, "BitsAllocated is 0", {"BitsAllocated": 0}),
        (UnreadableImage, "BitsStored is 17, BitsAllocated 16", {"BitsStored": 17}),
        (UnreadableImage, "BitsStored is 0", {"BitsStored": 0}),
        (UnsupportedImage, "BitsStored is 7", {"BitsStored": 7}),
        (UnreadableImage, "HighBit is 15.*11", {"HighBit": 15}),
        (UnreadableImage, "0 to 4095.*0 to 1023", {"BitsStored": 10, "HighBit": 9}),
        (UnreadableImage, "PixelRepresentation is 7", {"PixelRepresentation": 7}),
        (UnreadableImage, "SamplesPerPixel is 3.*MONOCHROME2 has 1", {"SamplesPerPixel": 3}),
        (UnreadableImage, "SamplesPerPixel is 1.*RGB has 3", {"PhotometricInterpretation": "RGB"}),
        (UnreadableImage, "PhotometricInterpretation is missing", {"PhotometricInterpretation": None}),
        (UnreadableImage, "PhotometricInterpretation is missing", {"PhotometricInterpretation": ""}),
        (UnsupportedImage, "none of those taken", {"PhotometricInterpretation": "DOE JANE"}),
        (UnreadableImage, "no Pixel Data", {"PixelData": None}),
        (UnreadableImage, "23998 bytes.*24000", {"PixelData": b"\0" * 23998}),
        (UnreadableImage, "24200 bytes.*24000", {"PixelData": b"\0" * 24200}),
        (UnreadableImage, "0 bytes.*24000", {"PixelData": b""}),
    ],
)
def test_headers_that_cannot_be_right(
    error: type[CxrserveError], match: str, elements: dict[str, Any]
) -> None:
    refused(error, match, **elements)


def test_float_pixels_are_refused() -> None:
    pixels = np.ones(12000, np.float32).tobytes()
    refused(UnsupportedImage, "floating-point", PixelData=None, FloatPixelData=pixels, BitsAllocated=32)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00280010, b"UL", b"\x78\0\0\0"),  # a number of another length: the same number
        (0x00280010, b"LO", b"one hundred"),
        (0x00280010, b"US", b"\x78\0\x78\0"),
        (0x00280010, b"DS", b"NaN "),
        (0x00280010, b"OB", b"\x78\0"),
        (0x00280004, b"US", b"\x78\0"),
        (0x00080060, b"US", b"\x78\0"),
    ],
)
def test_elements_of_another_kind(tag: int, vr: bytes, value: bytes) -> None:
    data = makers.with_raw(makers.dataset(makers.radiograph()), tag, vr, value)
    if vr == b"UL" or tag == 0x00080060:  # the SOP class says CR, so the modality need not
        assert read_dicom(data, Limits()).about.rows == 120
    else:
        with pytest.raises(UnreadableImage):
            read_dicom(data, Limits())


def test_an_element_that_stands_twice() -> None:
    ds = makers.bare(makers.dataset(makers.radiograph()), implicit=False)
    again = makers.element(0x00280010, b"US", b"\x40\0")
    at = ds.index(makers.element(0x00280010, b"US", b"\x78\0"))
    with pytest.raises(UnreadableImage, match="twice"):
        read_dicom(makers.file_of(ds[:at] + again + ds[at:]), Limits())
    same = makers.element(0x00280010, b"US", b"\x78\0")
    assert read_dicom(makers.file_of(ds[:at] + same + ds[at:]), Limits()).about.rows == 120


@pytest.mark.parametrize("meta_in_data_set", [True, False])
def test_tags_out_of_order(meta_in_data_set: bool) -> None:
    ds = makers.dataset(makers.radiograph())
    stray = makers.element(0x00020002, b"UI", b"1.2.3\0")
    body = makers.bare(ds, implicit=False)
    if meta_in_data_set:
        data = makers.file_of(body[: body.index(b"\x28\0")] + stray + body[body.index(b"\x28\0") :])
        assert read_dicom(data, Limits()).about.rows == 120
    else:  # Rows after Pixel Data
        rows = makers.element(0x00280010, b"US", b"\x78\0")
        with pytest.raises(UnreadableImage, match="Rows is missing"):
            read_dicom(makers.file_of(body.replace(rows, b"") + rows), Limits())


def test_identifiers_leave_only_if_they_are_uids() -> None:
    for uid in (
        "1.2.3/../../etc",
        "1" * 65,
        "1.2." + "3" * 61,
        "DOE JANE",
        "1..2",
        ".1",
        "1.2\n.3",
        "",
    ):
        data = makers.with_raw(makers.dataset(makers.radiograph()), 0x0020000D, b"UI", uid.encode())
        found = read_dicom(data, Limits())
        assert found.about.study_instance_uid is None, uid
    assert read().about.study_instance_uid == "1.2.3.1"
    assert read().about.sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.14, 0.15), (0.14, 0.15)),
        ((0, 0.1), (0.139, 0.139)),
        ((-1, 1), (0.139, 0.139)),
        (("nan", "1"), (0.139, 0.139)),
        (("inf", "1"), (0.139, 0.139)),
    ],
)
def test_spacing_is_finite_and_positive(values: tuple[Any, Any], expected: tuple[float, float]) -> None:
    raw = "\\".join(map(str, values)).encode()
    found = read_dicom(makers.with_raw(makers.dataset(makers.radiograph()), 0x00280030, b"DS", raw), Limits())
    assert found.about.spacing_mm == expected


def test_signed_values_without_their_sign_extended() -> None:
    signed = makers.radiograph(signed=True)
    cut = (signed.view(np.uint16) & 0x0FFF).view(np.int16)
    assert np.array_equal(read(cut).pixels_HW, signed)


def test_embedded_overlays_are_masked_where_they_are_declared() -> None:
    pixels = makers.radiograph()
    drawn = pixels | np.where(np.arange(100) % 2, 0x8000, 0).astype(np.uint16)
    assert read(drawn).steps == ("mask-unused-bits",)  # an undeclared one; PS3.5 8.1.1 either way
    ds = makers.dataset(drawn)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 15)
    found = read_dicom(makers.write(ds), Limits())
    assert np.array_equal(found.pixels_HW, pixels)
    assert found.steps == ("mask-embedded-overlay",)


@pytest.mark.parametrize("excess", [1, 2, 198, 512])
@pytest.mark.parametrize("bits", [8, 12])
def test_pixel_data_padded_by_less_than_a_row_are_read(bits: int, excess: int) -> None:
    pixels = makers.radiograph(65, 601, bits=bits)
    data = pixels.tobytes()
    padded = data + b"\0" * (len(data) % 2 + excess + excess % 2)
    found = read(pixels, bits=bits, PixelData=padded)
    assert np.array_equal(found.pixels_HW, pixels)
    assert "longer than the image" in found.warnings[0].message
    assert read(pixels, bits=bits, PixelData=data + b"\0" * (len(data) % 2)).warnings == ()
    with pytest.raises(UnreadableImage, match="wrong header"):
        read(pixels, bits=bits, PixelData=data + b"\0" * (601 * pixels.itemsize + 1))


def test_padding_is_kept_with_a_warning() -> None:
    assert "Padding" in read(PixelPaddingValue=0).warnings[0].message


@pytest.mark.parametrize("slope", ["nan", "inf", "0", "1e308"])
def test_rescale_and_windows_are_not_looked_at(slope: str) -> None:
    plain = read()
    ds = makers.dataset(makers.radiograph(), WindowCenter=100, WindowWidth=0)
    found = read_dicom(makers.with_raw(ds, 0x00281053, b"DS", slope.encode()), Limits())
    assert np.array_equal(found.pixels_HW, plain.pixels_HW)


def test_encapsulated_and_native_are_not_mistaken_for_each_other() -> None:
    pixels = makers.radiograph()
    with pytest.raises(UnreadableImage, match="compressed"):
        read_dicom(
            makers.write(makers.dataset(pixels)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"),
            Limits(),
        )
    data = makers.encapsulated(pixels, [b"\0" * 64], syntax=JPEGLSLossless)
    with pytest.raises(UnreadableImage, match="no compressed transfer syntax"):
        read_dicom(
            data.replace(JPEGLSLossless.encode(), ExplicitVRLittleEndian.encode().ljust(22, b"\0")), Limits()
        )


def test_pixels_that_are_not_square_give_a_warning() -> None:
    assert "not square (height to width 2)" in read(ImagerPixelSpacing=[0.2, 0.1]).warnings[0].message
    assert "not square" in read(ImagerPixelSpacing=None, PixelAspectRatio=[4, 3]).warnings[0].message
    assert read(ImagerPixelSpacing=None, PixelAspectRatio=[1, 1]).warnings == ()
    assert read(ImagerPixelSpacing=None, PixelAspectRatio=[1, 0]).warnings == ()
