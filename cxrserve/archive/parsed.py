"""What the archive knows of an object before it keeps it: read from its header, and cleaned."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from cxrserve.archive.incoming import Incoming
from cxrserve.archive.receipt import Outcome, Reason, Receipt, Source
from cxrserve.archive.rules import Traits
from cxrserve.ensemble.bundle import Bundle
from cxrserve.imaging.border import reading
from cxrserve.imaging.dicom.dataset import open_data_set, text
from cxrserve.imaging.dicom.source_header import source_header
from cxrserve.imaging.limits import Limits
from cxrserve.reports.dicom import read_source
from cxrserve.reports.dicom.identity import is_result

_one_at_a_time: Final = threading.Lock()  # `border.reading` sets warnings aside for the whole process


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """One object.

    Attributes:
        file: it itself.
        header: cleaned: reports can be made without the file.
    """

    file: Incoming
    header: bytes
    rows: int | None
    columns: int | None
    source: Source
    sha256: str
    content_sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    patient_name: str
    patient_id: str
    patient_id_issuer: str
    study_date: str
    description: str
    modality: str
    accession_number: str
    traits: Traits
    is_result: bool

    def receipt(self, outcome: Outcome, detail: str, reason: Reason | None = None) -> Receipt:
        """What became of it."""
        return Receipt(
            outcome=outcome,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            study_instance_uid=self.study_instance_uid,
            sha256=self.sha256,
            detail=detail,
            reason=reason,
        )


def parse(file: Incoming, source: Source, limits: Limits, bundle: Bundle) -> Parsed:
    """Read the header of `file`, which is finished.

    Raises:
        UnreadableImage: no DICOM file, or one of its UIDs is missing or none.
        TooLarge: a deflated data set unfolds beyond the limit.
        OutOfResources: its file cannot be read back.
    """
    with _one_at_a_time, reading("the DICOM header"):
        data = file.header()
        cleaned = source_header(data, limits)
        header = read_source(cleaned).header
        opened = open_data_set(data, limits)
    return Parsed(
        file=file,
        header=cleaned,
        rows=header.get("Rows"),
        columns=header.get("Columns"),
        source=source,
        sha256=file.sha256,
        content_sha256=file.content_sha256(opened.data),
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        study_instance_uid=str(header.StudyInstanceUID),
        patient_name=str(header.get("PatientName", "")),
        patient_id=text(header, "PatientID"),
        patient_id_issuer=text(header, "IssuerOfPatientID"),
        study_date=text(header, "StudyDate"),
        description=text(header, "StudyDescription"),
        modality=text(header, "Modality"),
        accession_number=text(header, "AccessionNumber"),
        traits=Traits(
            modality=text(header, "Modality"),
            body_part=text(header, "BodyPartExamined"),
            view=text(header, "ViewPosition"),
            station=text(header, "StationName"),
            calling_ae=source.calling_ae,
        ),
        is_result=is_result(header, bundle),
    )
