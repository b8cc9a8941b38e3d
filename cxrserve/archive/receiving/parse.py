"""Header of a received object: parsed and cleaned before the object is stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from cxrserve.archive.matching import Traits
from cxrserve.archive.receipt import Outcome, Reason, Receipt, Source
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.bundle.contract import Bundle
from cxrserve.imaging.dicom.dataset import text
from cxrserve.imaging.dicom.source_header import element_texts, source_header
from cxrserve.imaging.foreign_errors import reading
from cxrserve.imaging.limits import Limits
from cxrserve.reports.dicom import read_source
from cxrserve.reports.dicom.identity import is_result
from cxrserve.reports.dicom.patient import Patient, patient_of

_TRAITS: Final = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view": "ViewPosition",
    "station": "StationName",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedObject:
    """One object.

    Attributes:
        file: the received file.
        header: cleaned; reports can be made from it without the file.
    """

    file: IncomingFile
    header: bytes
    rows: int | None
    columns: int | None
    source: Source
    sha256: str
    content_sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    patient: Patient
    study_date: str
    description: str
    modality: str
    traits: Traits
    is_result: bool

    def under(self, patient: Patient, header: bytes) -> ReceivedObject:
        """The same object under another patient, whom `header` names."""
        return replace(self, patient=patient, header=header)

    def receipt(self, outcome: Outcome, detail: str, reason: Reason | None = None) -> Receipt:
        """The receipt for its sender."""
        return Receipt(
            outcome=outcome,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            study_instance_uid=self.study_instance_uid,
            sha256=self.sha256,
            detail=detail,
            reason=reason,
        )


def parse(
    file: IncomingFile, source: Source, limits: Limits, bundle: Bundle | None, keywords: Collection[str] = ()
) -> ReceivedObject:
    """Read the header of `file`, which is finished.

    Args:
        bundle: None where the object is known to be no result.
        keywords: DICOM keywords of the further elements that the rules look at.

    Raises:
        UnreadableImage: no DICOM file, or one of its UIDs is missing or invalid.
        TooLarge: too many bytes come before Pixel Data.
        OutOfResources: the file cannot be read back.
    """
    with reading("the DICOM header"):
        data = file.header()
        cleaned = source_header(data, limits)
        header = read_source(cleaned).header
        texts = element_texts(data, {*_TRAITS.values(), *keywords}, limits)
    return ReceivedObject(
        file=file,
        header=cleaned,
        rows=header.get("Rows"),
        columns=header.get("Columns"),
        source=source,
        sha256=file.sha256,
        content_sha256=file.content_sha256(),
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        study_instance_uid=str(header.StudyInstanceUID),
        patient=patient_of(cleaned),
        study_date=text(header, "StudyDate"),
        description=text(header, "StudyDescription"),
        modality=text(header, "Modality"),
        traits=Traits(
            # As they stand in the file: a body part that is no code string is not an empty one.
            **{trait: next(iter(texts[keyword]), "") for trait, keyword in _TRAITS.items()},
            calling_ae=source.calling_ae,
            tags={keyword: texts[keyword] for keyword in keywords},
        ),
        is_result=bundle is not None and is_result(header, bundle),
    )
