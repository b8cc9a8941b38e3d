"""Data sets of workitems: reads those that a manager gives, and writes what was performed (PS3.3 C.30)."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, get_args

from pydicom.dataset import Dataset

from cxrserve.archive.peers import DimsePeer, Peer, WebPeer, WorklistPeer
from cxrserve.archive.workitems import (
    Cancellation,
    DiscontinuationReason,
    Output,
    Performed,
    Workitem,
    WorkitemState,
)
from cxrserve.imaging.dicom.dataset import text
from cxrserve.reports.dicom.patient import Patient

Code = tuple[str, str, str]  # value, scheme, meaning

# PS3.16 CID 9300
REASONS: Final[Mapping[DiscontinuationReason, Code]] = {
    "wrong-patient": ("110514", "DCM", "Incorrect worklist entry selected"),
    "not-supported": ("110522", "DCM", "Object Types not supported"),
    "incomplete": ("110523", "DCM", "Object Set incomplete"),
    "equipment-failure": ("110501", "DCM", "Equipment failure"),
    "unspecified": ("110513", "DCM", "Discontinued for unspecified reason"),
}
# PS3.16 CID 9231, where the workitem does not say what is to be done
DEFAULT_WORKITEM_CODE: Final[Code] = ("110004", "DCM", "Computer Aided Detection")
_PRIVATE_SCHEME: Final = "99CXRSERVE"
_NOT_READY: Final = ("INCOMPLETE", "UNAVAILABLE")
_PRIORITIES: Final = ("HIGH", "MEDIUM", "LOW")


class NoPatient(Exception):
    """A workitem names a patient in a form that cannot be compared."""


def read_workitem(dataset: Dataset) -> Workitem:
    """The attributes of a workitem that this station needs.

    Raises:
        NoPatient: Patient ID or issuer is there, and is no single text.
    """
    state = text(dataset, "ProcedureStepState")
    known = {str(name): name for name in get_args(WorkitemState)}
    return Workitem(
        uid=text(dataset, "SOPInstanceUID"),
        state=known.get(state, ""),
        patient=Patient(
            patient_id=_one_text(dataset, "PatientID"), issuer=_one_text(dataset, "IssuerOfPatientID")
        ),
        codes=tuple(_codes(dataset, "ScheduledWorkitemCodeSequence")),
        inputs=tuple(_inputs(dataset)),
    )


def _one_text(dataset: Dataset, keyword: str) -> str:
    """The element's only value, "" where it is absent or empty; a number must not read as "no patient"."""
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, str):
        raise NoPatient(keyword)
    return text(dataset, keyword)


def _codes(dataset: Dataset, keyword: str) -> Iterator[Code]:
    for item in dataset.get(keyword) or ():
        yield text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")


def _inputs(dataset: Dataset) -> Iterator[tuple[str, str, str, str, str]]:
    """The DICOM inputs, in the form of `Workitem.inputs` (PS3.3 Table 10-3b)."""
    for item in dataset.get("InputInformationSequence") or ():
        if text(item, "TypeOfInstances") not in ("DICOM", ""):
            continue
        urls = [text(each, "RetrieveURL") for each in item.get("WADORSRetrievalSequence") or ()]
        series = text(item, "StudyInstanceUID"), text(item, "SeriesInstanceUID")
        url = urls[0] if urls else ""
        references = item.get("ReferencedSOPSequence") or ()
        for reference in references:
            sop_class = text(reference, "ReferencedSOPClassUID")
            yield *series, text(reference, "ReferencedSOPInstanceUID"), sop_class, url
        if not references:
            yield *series, "", "", url


def priority_of(dataset: Dataset) -> int:
    """The rank of a workitem's priority: 0 for HIGH."""
    priority = text(dataset, "ScheduledProcedureStepPriority")
    return _PRIORITIES.index(priority) if priority in _PRIORITIES else _PRIORITIES.index("MEDIUM")


def is_for(dataset: Dataset, peer: WorklistPeer, station: str) -> bool:
    """True for a scheduled workitem that `peer` describes, whose inputs are ready, and that is no other's.

    What the manager answers is compared again: some ignore matching keys that they do not know.
    """
    codes = [code[:2] for code in _codes(dataset, "ScheduledWorkitemCodeSequence")]
    stations = [code[0] for code in _codes(dataset, "ScheduledStationNameCodeSequence")]
    return (
        text(dataset, "ProcedureStepState") == "SCHEDULED"
        and text(dataset, "InputReadinessState") not in _NOT_READY
        and (peer.code is None or (peer.code.value, peer.code.scheme) in codes)
        and (peer.label is None or text(dataset, "WorklistLabel") == peer.label)
        and (not stations or station in stations)
    )


def state_change(transaction_uid: str, state: WorkitemState) -> Dataset:
    """The payload of Change Workitem State (PS3.4 Table CC.2.1-1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ProcedureStepState = state
    return dataset


def performed_update(
    transaction_uid: str,
    performed: Performed,
    *,
    codes: Sequence[Code],
    station: str,
    peers: Mapping[str, Peer],
) -> Dataset:
    """The payload of Update Workitem: progress, and the performed procedure step as far as it has come.

    It has all that PS3.4 Table CC.2.5-3 requires of a final state, once `performed` has ended.

    Args:
        codes: of the scheduled workitem, which was done.
        station: code of this station.
        peers: the destinations of the outputs, by name.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.TransactionUID = transaction_uid
    dataset.ProcedureStepProgressInformationSequence = [_progress(performed)]
    step = Dataset()
    step.PerformedStationNameCodeSequence = [_code_item((station, _PRIVATE_SCHEME, station))]
    step.PerformedProcedureStepStartDateTime = _date_time(performed.started)
    step.PerformedWorkitemCodeSequence = [_code_item(code) for code in codes or (DEFAULT_WORKITEM_CODE,)]
    if performed.ended is not None:
        step.PerformedProcedureStepEndDateTime = _date_time(performed.ended)
        step.OutputInformationSequence = list(_output_items(performed.outputs, peers))
    dataset.UnifiedProcedureStepPerformedProcedureSequence = [step]
    return dataset


def _progress(performed: Performed) -> Dataset:
    item = Dataset()
    item.ProcedureStepProgress = "0" if performed.ended is None else "100"
    if performed.cancellation is not None and performed.ended is not None:
        _add_cancellation(item, performed.cancellation, performed.ended)
    return item


def _add_cancellation(item: Dataset, cancellation: Cancellation, when: datetime.datetime) -> None:
    item.ProcedureStepCancellationDateTime = _date_time(when)
    item.ReasonForCancellation = cancellation.text
    item.ProcedureStepDiscontinuationReasonCodeSequence = [_code_item(REASONS[cancellation.reason])]


def _output_items(outputs: Sequence[Output], peers: Mapping[str, Peer]) -> Iterator[Dataset]:
    """An item for each series at each destination, with the way to get it there (PS3.3 Table 10-3b)."""
    series: dict[tuple[str, str, str], list[Output]] = defaultdict(list)
    for output in outputs:
        key = output.destination, output.study_instance_uid, output.object.series_instance_uid
        series[key].append(output)
    for (destination, study, uid), members in series.items():
        item = Dataset()
        item.TypeOfInstances = "DICOM"
        item.StudyInstanceUID, item.SeriesInstanceUID = study, uid
        item.ReferencedSOPSequence = [_reference(output) for output in members]
        retrieval = Dataset()
        match peers.get(destination):
            case DimsePeer(ae_title=title):
                retrieval.RetrieveAETitle = title
                item.DICOMRetrievalSequence = [retrieval]
            case WebPeer(url=url):
                retrieval.RetrieveURL = f"{url.rstrip('/')}/studies/{study}/series/{uid}"
                item.WADORSRetrievalSequence = [retrieval]
        yield item


def _reference(output: Output) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = output.object.sop_class_uid
    item.ReferencedSOPInstanceUID = output.object.sop_instance_uid
    return item


def _code_item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _date_time(when: datetime.datetime) -> str:
    return f"{when.astimezone(datetime.UTC):%Y%m%d%H%M%S.%f}+0000"
