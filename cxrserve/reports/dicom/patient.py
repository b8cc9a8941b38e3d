"""Patient and order of an image, and the correction of both in a header and in results that were made.

A PACS reconciles patients every day: an emergency under a temporary ID, a wrong worklist entry. The pixels
and every figure of a result stay as they are; only the attributes named here change, and with them the SOP
Instance UID, which is made from the bytes.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from cxrserve.imaging.dicom.dataset import text
from cxrserve.imaging.dicom.source_header import encoded
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.reports.dicom.objects import ImageSummary, Reference
from cxrserve.reports.dicom.source import read_source

_PATIENT: Final = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """The patient and the order that an image or a PACS names; "" where it does not say."""

    patient_id: str = ""
    issuer: str = ""
    name: str = ""
    accession_number: str = ""
    birth_date: str = ""
    sex: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Patient ID, issuer, name without empty parts at its end, and accession number."""
        return self.patient_id, self.issuer, self.name.rstrip("^= "), self.accession_number

    def differs_from(self, other: Patient) -> bool:
        """True where both name a patient, and it is not the same: by ID or by issuer."""
        pairs = (self.patient_id, other.patient_id), (self.issuer, other.issuer)
        return any(first and second and first != second for first, second in pairs)


def patient_of(header: bytes) -> Patient:
    """The patient in a cleaned header."""
    dataset = read_source(header).header
    return Patient(
        patient_id=text(dataset, "PatientID"),
        issuer=text(dataset, "IssuerOfPatientID"),
        name=str(dataset.get("PatientName") or ""),
        accession_number=text(dataset, "AccessionNumber"),
        birth_date=text(dataset, "PatientBirthDate"),
        sex=text(dataset, "PatientSex"),
    )


def with_patient(header: bytes, patient: Patient) -> bytes:
    """The cleaned header of an image under another patient, who is taken over whole.

    An accession number that `patient` does not name stays as it is.
    """
    source = read_source(header)
    dataset = deepcopy(source.header)
    values = (patient.name, patient.patient_id, patient.issuer, patient.birth_date, patient.sex)
    with quiet:  # values are repeated word for word
        for keyword, value in zip(_PATIENT, values, strict=True):
            if value:
                setattr(dataset, keyword, value)
            elif keyword in dataset:
                delattr(dataset, keyword)
        if patient.accession_number:
            _set_accession(dataset, patient.accession_number)
        return encoded(dataset, source.character_set)


def _set_accession(dataset: Dataset, accession: str) -> None:
    before = text(dataset, "AccessionNumber")
    dataset.AccessionNumber = accession
    for request in dataset.get("RequestAttributesSequence", ()):
        if text(request, "AccessionNumber") == before:
            request.AccessionNumber = accession


def corrected_results(files: dict[str, bytes], header: bytes) -> dict[str, bytes]:
    """The results of an image again, under the patient and the order of `header`.

    Args:
        files: what was made of the image under the patient before.
    """
    from cxrserve.reports.dicom.instance import moved  # highdicom takes most of a second to import

    source = read_source(header)
    new: dict[str, Reference] = {}
    corrected: dict[str, bytes] = {}
    for name, data in files.items():
        if name.endswith(".dcm"):
            with quiet:
                instance = dcmread(BytesIO(data))
                before = str(instance.SOPInstanceUID)
                corrected[name] = moved(instance, source)
            new[before] = _reference(corrected[name])
        else:
            corrected[name] = data
    summary = ImageSummary.model_validate_json(files["summary.json"])
    if summary.overlay is not None and summary.overlay.sop_instance_uid in new:
        summary = summary.model_copy(update={"overlay": new[summary.overlay.sop_instance_uid]})
    return corrected | {"summary.json": summary.model_dump_json().encode()}


def _reference(part10: bytes) -> Reference:
    header: Dataset = dcmread(
        BytesIO(part10), specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
    )
    return Reference(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
    )
