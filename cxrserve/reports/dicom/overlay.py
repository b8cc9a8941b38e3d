"""The overlay page as Secondary Capture (PS3.3 A.8.1): what every PACS can show."""

from __future__ import annotations

import datetime

from highdicom.sc import SCImage
from pydicom.dataset import Dataset

from cxrserve.ensemble.bundle import Bundle
from cxrserve.ensemble.pipeline import Reading
from cxrserve.reports.dicom.instance import finished, referable, series_arguments
from cxrserve.reports.dicom.objects import DicomObject
from cxrserve.reports.dicom.page import page
from cxrserve.reports.dicom.source import Source


def overlay_object(source: Source, reading: Reading, bundle: Bundle, when: datetime.datetime) -> DicomObject:
    """The page of the positive findings, RGB.

    Its text is burnt in, and says so; the patient's name is not among it.
    """
    image = referable(source)
    made = SCImage(
        pixel_array=page(reading, bundle),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # a placeholder: the image's own is set below
        study_instance_uid=source.study_instance_uid,
        **series_arguments("overlay", source, bundle, when),
    )
    made.PatientOrientation = image.get("PatientOrientation")  # type 2C: empty where the image does not say
    made.BodyPartExamined = "CHEST"
    made.BurnedInAnnotation = "YES"
    made.RecognizableVisualFeatures = "NO"
    made.ConversionType = "WSD"
    made.DerivationDescription = (
        "Evidence of neural networks (Grad-CAM) over the radiograph; research use only"
    )
    made.SourceImageSequence = [_item(source)]
    return finished(made, "overlay", source, bundle, when)


def _item(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_instance_uid
    return item
