"""The overlay page as Secondary Capture (PS3.3 A.8.1), which every PACS can show."""

from __future__ import annotations

import datetime

from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from cxrserve.bundle.contract import Bundle
from cxrserve.imaging.orientation import shown_directions
from cxrserve.pipeline.pipeline import Reading
from cxrserve.reports.dicom.instance import finished, referable, series_arguments
from cxrserve.reports.dicom.objects import DicomObject, ImageSummary
from cxrserve.reports.dicom.page import page
from cxrserve.reports.dicom.source import Source


def overlay_object(
    source: Source, reading: Reading, summary: ImageSummary, bundle: Bundle, when: datetime.datetime
) -> DicomObject:
    """The page of the positive findings: RGB, RLE Lossless, which every DICOM library decodes.

    Its text is burnt in, and says so; the patient's name is not among it.
    """
    image = referable(source)
    capture = SCImage(
        pixel_array=page(reading, summary.findings, bundle),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # a placeholder: the image's own is set below
        study_instance_uid=source.study_instance_uid,
        **series_arguments("overlay", source, bundle, when),
    )
    stored = image.get("PatientOrientation")  # type 2C: empty where the image has none
    turn = reading.image.about.orientation  # not 1 only where the image has a Patient Orientation
    capture.PatientOrientation = stored if turn == 1 else list(shown_directions((stored[0], stored[1]), turn))
    capture.BodyPartExamined = "CHEST"
    capture.BurnedInAnnotation = "YES"
    capture.RecognizableVisualFeatures = "NO"
    capture.ConversionType = "WSD"
    capture.DerivationDescription = (
        "Evidence of neural networks (Grad-CAM) over the radiograph; research use only"
    )
    capture.SourceImageSequence = [_item(source)]
    capture.compress(RLELossless, generate_instance_uid=False)
    return finished(capture, "overlay", source, bundle, when, RLELossless)


def _item(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    return item
