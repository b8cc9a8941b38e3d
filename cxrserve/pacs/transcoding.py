"""Objects in the form that a peer accepts: another SOP class for a report, or no compression."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.presentation import PresentationContext, build_context

from cxrserve.reports.dicom.objects import Reference
from cxrserve.reports.dicom.report_class import REPORT_CLASSES, with_report_class

UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)

Accepts = Callable[[UID, UID], bool]  # SOP class, transfer syntax


def is_report(dataset: Dataset) -> bool:
    """True for a structured report."""
    return dataset.SOPClassUID in REPORT_CLASSES.values()


def is_compressed(dataset: Dataset) -> bool:
    """True for an object in a compressed transfer syntax."""
    return dataset.file_meta.TransferSyntaxUID not in UNCOMPRESSED


def reference_to(dataset: Dataset) -> Reference:
    """The reference that another object holds to `dataset`."""
    return Reference(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
    )


def decompressed(dataset: Dataset) -> Dataset:
    """A copy without compression. It keeps its UID: the compression of results is lossless."""
    copy = deepcopy(dataset)
    copy.decompress(generate_instance_uid=False)
    return copy


def report_classes(chosen: str | None) -> tuple[UID, ...]:
    """The SOP classes to offer for a report: the one that the rules name, or all, the richest first."""
    return tuple(REPORT_CLASSES.values()) if chosen is None else (REPORT_CLASSES[chosen],)


def contexts_for(datasets: Iterable[Dataset], report_class: str | None) -> list[PresentationContext]:
    """The presentation contexts to propose: every form in which an object can be sent."""
    kinds: dict[tuple[UID, tuple[UID, ...]], None] = {}
    for dataset in datasets:
        syntax = dataset.file_meta.TransferSyntaxUID
        if is_compressed(dataset):
            kinds[dataset.SOPClassUID, (syntax,)] = None
        classes = report_classes(report_class) if is_report(dataset) else (dataset.SOPClassUID,)
        kinds.update({(sop_class, UNCOMPRESSED): None for sop_class in classes})
    return [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in kinds]


def in_accepted_form(dataset: Dataset, accepts: Accepts, report_class: str | None) -> Dataset | None:
    """`dataset` in the first form that the peer accepts; None where it accepts none."""
    if is_report(dataset):
        for sop_class in report_classes(report_class):
            if any(accepts(sop_class, syntax) for syntax in UNCOMPRESSED):
                return with_report_class(dataset, sop_class)
        return None
    if is_compressed(dataset) and accepts(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID):
        return dataset
    if any(accepts(dataset.SOPClassUID, syntax) for syntax in UNCOMPRESSED):
        return decompressed(dataset) if is_compressed(dataset) else dataset
    return None
