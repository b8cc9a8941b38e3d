"""Files for the tests, made from nothing: one synthetic radiograph in every encoding, and hostile ones."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any, Final

import gdcm
import jpeg_ls
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import encode_array as encode_jpeg_2000
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

Pixels = NDArray[Any]

CR: Final = "1.2.840.10008.5.1.4.1.1.1"
DX: Final = "1.2.840.10008.5.1.4.1.1.1.1"
DX_PROCESSING: Final = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"

LOSSLESS_SYNTAXES: Final = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
)


def radiograph(rows: int = 120, columns: int = 100, *, bits: int = 12, signed: bool = False) -> Pixels:
    """Two dark lungs in a bright body, with noise, over the whole range of `bits`."""
    y, x = np.mgrid[0:rows, 0:columns] / np.array([rows, columns]).reshape(2, 1, 1)
    lungs = sum(np.exp(-(((x - centre) / 0.12) ** 2 + ((y - 0.5) / 0.3) ** 2)) for centre in (0.3, 0.7))
    noise = np.random.default_rng(7).normal(0, 0.01, (rows, columns))
    grey = np.clip(0.9 - 0.7 * lungs - 0.2 * y + noise, 0, 1)
    grey = (grey - grey.min()) / np.ptp(grey)
    stored = np.rint(grey * (2**bits - 1)).astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    pixels: Pixels = stored.astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    return pixels


def dataset(pixels: Pixels, *, bits: int = 12, photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """A CR data set that holds `pixels` [H, W] or [H, W, 3]; `elements` override, None removes."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CR, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    ds.PatientName, ds.PatientID = "Doe^Jane", "MRN-0815"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.ImagerPixelSpacing = [0.139, 0.139]
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    if ds.SamplesPerPixel > 1:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = pixels.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated == 16 else "OB"
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def dicom(pixels: Pixels, *, syntax: str = ExplicitVRLittleEndian, bits: int = 12, **elements: Any) -> bytes:
    """A DICOM file with `pixels` in transfer syntax `syntax`."""
    ds = dataset(pixels, bits=bits, **elements)
    uid = UID(syntax)
    if uid.is_compressed and uid != DeflatedExplicitVRLittleEndian:
        return encapsulated(pixels, [compress(pixels, uid, bits)], syntax=syntax, bits=bits, **elements)
    if uid == ExplicitVRBigEndian and pixels.dtype.itemsize == 2:
        ds.PixelData = pixels.byteswap().tobytes()
    return write(ds, uid)


def encapsulated(
    pixels: Pixels, fragments: list[bytes], *, syntax: str, bits: int = 12, **elements: Any
) -> bytes:
    """A DICOM file whose header speaks of `pixels` and whose compressed Pixel Data are `fragments`."""
    ds = dataset(pixels, bits=bits, **elements)
    items = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(item) + len(item) % 2) + item + b"\0" * (len(item) % 2)
        for item in (b"", *fragments)  # the first is the offset table, which may be empty
    )
    ds.PixelData = items
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return write(ds, syntax)


def write(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """`ds` as a file, with preamble and meta information."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", SECONDARY_CAPTURE)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3.4")
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def bare(ds: Dataset, *, implicit: bool, little: bool = True) -> bytes:
    """`ds` as its elements alone: no preamble, no meta information."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    write_dataset(buffer, ds)
    return buffer.getvalue()


def compress(pixels: Pixels, syntax: UID, bits: int) -> bytes:
    """One frame's stream."""
    if syntax == RLELossless:
        return _rle(pixels)
    if syntax == JPEGBaseline8Bit:
        return jpeg(pixels)
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        return _jpeg_lossless(pixels, syntax, bits)
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        return bytes(jpeg_ls.encode_array(pixels.view(f"u{pixels.dtype.itemsize}")))
    return encode_jpeg_2000(pixels, bits_stored=bits)


def jpeg(pixels: Pixels, **options: Any) -> bytes:
    """A JPEG file; `options` are Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 95} | options)
    return buffer.getvalue()


def png(pixels: Pixels, **options: Any) -> bytes:
    """A PNG file; `options` are Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk, with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """One element, explicit little endian; `length` may lie."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + b"\0\0" + struct.pack("<I", size) + value
    return head + struct.pack("<H", size) + value


def with_raw(ds: Dataset, tag: int, vr: bytes, value: bytes) -> bytes:
    """A file of `ds` in which the element `tag` is the bytes `value`, padded, whatever the standard says."""
    before, after = Dataset(), Dataset()
    for found in ds:
        if found.tag != tag:
            (before if found.tag < tag else after).add(found)
    padded = value + b"\0" * (len(value) % 2)
    return file_of(bare(before, implicit=False) + element(tag, vr, padded) + bare(after, implicit=False))


def file_of(elements: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file whose data set is `elements`, whatever they are."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return b"\0" * 128 + b"DICM" + element(0x00020010, b"UI", uid) + elements


def _rle(pixels: Pixels) -> bytes:
    """PS3.5 Annex G, literal runs only; the segments are the bytes, high ones first."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    segments = []
    for sample in range(planes.shape[2]):
        raw = np.ascontiguousarray(planes[..., sample]).view(np.uint8).reshape(pixels.shape[0], -1)
        size = pixels.dtype.itemsize
        segments += [_pack_bits(raw[:, byte::size]) for byte in reversed(range(size))]
    offsets = np.cumsum([64, *map(len, segments)])[:-1]
    header = struct.pack("<16I", len(segments), *offsets, *([0] * (15 - len(segments))))
    return header + b"".join(segments)


def _pack_bits(plane: Pixels) -> bytes:
    packed = bytearray()
    for row in plane:
        for start in range(0, len(row), 128):
            run = row[start : start + 128].tobytes()
            if len(set(run)) == 1 and len(run) > 1:
                packed += bytes((257 - len(run), run[0]))
            else:
                packed += bytes((len(run) - 1,)) + run
    return bytes(packed) + b"\0" * (len(packed) % 2)


def _jpeg_lossless(pixels: Pixels, syntax: UID, bits: int) -> bytes:
    """By gdcm, which works on files."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.dcm"), Path(folder, "out.dcm")
        source.write_bytes(dicom(pixels, bits=bits, photometric="MONOCHROME2" if pixels.ndim == 2 else "RGB"))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        kind = {JPEGLossless: "JPEGLosslessProcess14", JPEGLosslessSV1: "JPEGLosslessProcess14_1"}[syntax]
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return _only_fragment(target.read_bytes())


def _only_fragment(file: bytes) -> bytes:
    start = file.index(b"\xff\xd8\xff")
    length = struct.unpack_from("<I", file, start - 4)[0]
    return file[start : start + length]
