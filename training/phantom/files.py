"""Phantoms as files: JPEG as MIMIC-CXR-JPG makes them, or 12-bit DICOM as a detector sends them."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from cxrserve.findings import NAMES
from cxrserve.imaging.profiles import apply_profile
from training.phantom.phantom import BITS, WHITE, Phantom, View, make_phantom

FileFormat = Literal["jpeg", "dicom"]
SUFFIX: Final[dict[FileFormat, str]] = {"jpeg": ".jpg", "dicom": ".dcm"}
# PS3.16 CID 4010, SNOMED CT.
VIEW_CODES: Final[dict[View, tuple[str, str]]] = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
}
LABELS_FILE: Final = "labels.csv"
# As MIMIC-CXR-JPG was written.
JPEG_QUALITY: Final = 95
DRAWN_ON: Final = datetime.date(2026, 1, 1)


def write_phantoms(folder: Path, count: int, seed: int = 0, format: FileFormat = "jpeg") -> Path:
    """Write `count` phantoms of the seeds from `seed` on, and their labels as CSV.

    Every second DICOM file is MONOCHROME1.

    Returns:
        the labels file: one row a phantom with path, patient, study, view and 0 or 1 for each finding.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(seed, seed + count):
        phantom = make_phantom(number)
        path = folder / f"phantom_{number:06d}{SUFFIX[format]}"
        if format == "jpeg":
            write_jpeg(path, phantom)
        else:
            write_dicom(path, phantom, inverted=number % 2 == 1)
        rows.append([path.name, f"PHANTOM{number:04d}", number, phantom.view, *phantom.labels_F.astype(int)])
    with (folder / LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "patient_id", "study_id", "view_position", *NAMES], *rows])
    return folder / LABELS_FILE


def write_jpeg(path: Path, phantom: Phantom) -> None:
    """Write the phantom as MIMIC-CXR-JPG would: its profile's 8-bit image, quality 95."""
    grey_HW, _ = apply_profile(phantom.radiograph, "mimic-cxr-jpg")
    success, encoded = cv2.imencode(".jpg", grey_HW, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert success
    path.write_bytes(encoded.tobytes())


def write_dicom(path: Path, phantom: Phantom, *, inverted: bool = False) -> None:
    """Write the phantom as a Digital X-Ray image for presentation (PS3.3 A.26), 12 bit, explicit VR.

    Args:
        inverted: MONOCHROME1, the lowest value white, instead of MONOCHROME2.
    """
    pixels_HW = phantom.radiograph.pixels_HW.astype(np.uint16)
    instance_uid = _uid(phantom, "instance")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dicom.SOPClassUID = DigitalXRayImageStorageForPresentation
    dicom.SOPInstanceUID = instance_uid
    _describe_patient_and_study(dicom, phantom)
    _describe_series(dicom, phantom)
    _describe_pixels(dicom, phantom, inverted=inverted)
    dicom.PixelData = (np.uint16(WHITE) - pixels_HW if inverted else pixels_HW).astype("<u2").tobytes()
    dicom["PixelData"].VR = "OW"
    dicom.save_as(path, enforce_file_format=True)


def _describe_patient_and_study(dicom: FileDataset, phantom: Phantom) -> None:
    dicom.PatientName = f"PHANTOM^{phantom.seed:04d}"
    dicom.PatientID = f"PHANTOM{phantom.seed:04d}"
    dicom.PatientBirthDate = ""
    dicom.PatientSex = "O"
    dicom.StudyInstanceUID = _uid(phantom, "study")
    dicom.StudyID = str(phantom.seed)
    dicom.StudyDate = dicom.ContentDate = dicom.AcquisitionDate = DRAWN_ON.strftime("%Y%m%d")
    dicom.StudyTime = dicom.ContentTime = dicom.AcquisitionTime = "120000"
    dicom.AccessionNumber = ""
    dicom.ReferringPhysicianName = ""
    dicom.StudyDescription = "Drawn phantom, no patient"


def _describe_series(dicom: FileDataset, phantom: Phantom) -> None:
    dicom.Modality = "DX"
    dicom.SeriesInstanceUID = _uid(phantom, "series")
    dicom.SeriesNumber = 1
    dicom.InstanceNumber = 1
    dicom.Manufacturer = "cxrserve"
    dicom.ManufacturerModelName = "phantom"
    dicom.BodyPartExamined = "CHEST"
    dicom.ViewPosition = phantom.view
    dicom.ImageLaterality = "U"
    dicom.PresentationIntentType = "FOR PRESENTATION"
    dicom.PatientOrientation = ["L", "F"]
    dicom.PositionerType = "NONE"
    dicom.AnatomicRegionSequence = [_code("816094009", "Chest")]
    dicom.ViewCodeSequence = [_code(*VIEW_CODES[phantom.view])]
    dicom.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dicom.AcquisitionContextSequence = []


def _describe_pixels(dicom: FileDataset, phantom: Phantom, *, inverted: bool) -> None:
    about = phantom.radiograph.about
    dicom.ImageType = ["DERIVED", "PRIMARY"]
    dicom.SamplesPerPixel = 1
    dicom.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dicom.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dicom.Rows, dicom.Columns = about.rows, about.columns
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit = 16, BITS, BITS - 1
    dicom.PixelRepresentation = 0
    dicom.PixelIntensityRelationship = "LOG"
    dicom.PixelIntensityRelationshipSign = -1 if not inverted else 1
    dicom.RescaleIntercept, dicom.RescaleSlope, dicom.RescaleType = 0, 1, "US"
    dicom.WindowCenter, dicom.WindowWidth = (WHITE + 1) // 2, WHITE + 1
    dicom.LossyImageCompression = "00"
    dicom.BurnedInAnnotation = "NO"
    assert about.spacing_mm is not None
    dicom.ImagerPixelSpacing = [f"{spacing:.6f}" for spacing in about.spacing_mm]
    dicom.DetectorType = "DIRECT"


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code


def _uid(phantom: Phantom, level: str) -> UID:
    """The same UID for the same phantom every time: `generate_uid` hashes what it is given."""
    return generate_uid(entropy_srcs=["cxrserve phantom", str(phantom.seed), level])
