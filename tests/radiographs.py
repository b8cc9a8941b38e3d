"""Radiograph-like pictures made on the spot: two dark lungs, a bright middle, a little noise. No patient."""

from __future__ import annotations

import io
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

ROWS: Final = 600
COLUMNS: Final = 500


def pixels(rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.uint8]:
    """A picture like a frontal chest radiograph, uint8 [rows, columns], white is dense."""
    y_H1 = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x_W = np.linspace(-1, 1, columns, dtype=np.float32)
    across_W = sum(np.exp(-(((x_W - side) / 0.3) ** 2)) for side in (-0.45, 0.45))
    lungs = across_W * np.exp(-(((y_H1 + 0.1) / 0.55) ** 2))
    noise = 3 * np.random.default_rng(1).standard_normal((rows, columns), np.float32)
    picture: NDArray[np.uint8] = (190 - 140 * lungs + 20 * y_H1 + noise).clip(0, 255).astype(np.uint8)
    return picture


def jpeg(rows: int = ROWS, columns: int = COLUMNS) -> bytes:
    """`pixels` as grey JPEG."""
    return _encoded(".jpg", rows, columns)


def png(rows: int = ROWS, columns: int = COLUMNS) -> bytes:
    """`pixels` as grey PNG."""
    return _encoded(".png", rows, columns)


def _encoded(kind: str, rows: int, columns: int) -> bytes:
    done, buffer = cv2.imencode(kind, pixels(rows, columns))
    assert done
    return buffer.tobytes()


def dataset(rows: int = ROWS, columns: int = COLUMNS, **elements: object) -> FileDataset:
    """`pixels` as a 12-bit DX data set for presentation; `elements` are set over it, by keyword."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    usual: dict[str, object] = {
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(entropy_srcs=["study"]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=["series"]),
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PresentationIntentType": "FOR PRESENTATION",
        "PatientName": "Nobody",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    for keyword, value in {**usual, **elements}.items():
        setattr(made, keyword, value)
    made.PixelData = (pixels(rows, columns).astype("<u2") << 4).tobytes()
    return made


def dicom(rows: int = ROWS, columns: int = COLUMNS, **elements: object) -> bytes:
    """`dataset` as a file."""
    return as_file(dataset(rows, columns, **elements))


def as_file(made: FileDataset) -> bytes:
    """A data set of `dataset` as a file."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()
