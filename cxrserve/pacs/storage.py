"""C-STORE SCP: hands one received object to the archive and answers with its status."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Final, cast

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.events import Event

from cxrserve import dicom_status
from cxrserve.archive.archive import Archive
from cxrserve.archive.receipt import Receipt, Source
from cxrserve.archive.receiving.incoming_file import IncomingFile
from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record
from cxrserve.errors import CxrserveError, UnreadableImage
from cxrserve.imaging.dicom.identity import identity, is_uid
from cxrserve.imaging.foreign_errors import quiet
from cxrserve.imaging.limits import Limits
from cxrserve.pacs.connection import DimseProvider
from cxrserve.pacs.incoming_datasets import CStoreCommand, IncomingDataset

_access: Final = logging.getLogger("cxrserve.access")
_audit: Final = logging.getLogger("cxrserve.audit")
_log: Final = logging.getLogger("cxrserve.pacs")

_PREAMBLE: Final = b"\0" * 128 + b"DICM"  # PS3.10 7.1
_MAX_COMMENT: Final = 64  # Error Comment is LO
_PLAIN: Final = re.compile(r"[^A-Za-z0-9_.-]")


def begin(association: Association, archive: Archive, command: CStoreCommand) -> IncomingFile:
    """Open a file for the object of a C-STORE request, with its meta information: PS3.10 7.1.

    Raises:
        UnreadableImage: the request has invalid UIDs, or uses a context that was not accepted.
        OutOfResources: the disk or the archive is full.
    """
    syntaxes = {context.context_id: context.transfer_syntax[0] for context in association.accepted_contexts}
    if not (
        command.context in syntaxes and is_uid(command.sop_class_uid) and is_uid(command.sop_instance_uid)
    ):
        raise _Mismatch(
            "the C-STORE request has invalid UIDs, or uses a presentation context that was not accepted."
        )
    with quiet:  # a UID may have leading zeros
        meta = create_file_meta(
            sop_class_uid=UID(command.sop_class_uid),
            sop_instance_uid=UID(command.sop_instance_uid),
            transfer_syntax=syntaxes[command.context],
        )
        encoded = encode_file_meta(meta)
    file = archive.begin()
    file.write(_PREAMBLE + encoded)
    return file


def store(event: Event, archive: Archive, limits: Limits) -> Dataset:
    """Answer one C-STORE request, after `Archive.receive` has returned.

    Success means that the object is stored durably, or that it was ignored and need not be (`Receipt`).
    """
    started = time.perf_counter()
    association = event.assoc
    source = Source(
        protocol="dimse",
        calling_ae=str(association.requestor.ae_title).strip(),
        address=str(association.requestor.address),
    )
    size = 0
    log, outcome = _access, "kept"
    incoming = cast(DimseProvider, association.dimse).incoming
    dataset: IncomingDataset | None = None
    receipt: Receipt | None = None
    try:
        request = cast(C_STORE, event.request)
        dataset = incoming.take(_handle(request))
        size = dataset.size
        file = dataset.file()
        _check_same(request, dataset.command, file, limits)
        receipt = archive.receive(file, source)  # which writes the audit line
        status, comment, outcome = receipt.dimse_status, receipt.detail, receipt.outcome
        detail = comment
    except CxrserveError as error:
        log, status, comment, outcome = _audit, error.dimse_status, error.title, error.slug
        detail = error.detail
    except Exception as error:
        _log.error("storing an object failed: %s", type(error).__name__)
        log, status, comment = _audit, CxrserveError.dimse_status, CxrserveError.title
        outcome, detail = CxrserveError.slug, type(error).__name__
    finally:
        if dataset is not None:
            incoming.done(dataset)
    failed = status != dicom_status.SUCCESS
    record(
        AuditEvent(
            action="store",
            outcome="failure" if failed else "success",
            detail=outcome,
            user=source.calling_ae,
            address=source.address,
            studies=(receipt.study_instance_uid,) if receipt is not None else (),
            images=(receipt.sop_instance_uid,) if receipt is not None else (),
        )
    )
    log.info(
        "store calling_ae=%s address=%s status=%04X outcome=%s bytes=%d ms=%d%s",
        _PLAIN.sub("?", source.calling_ae) or "-",
        source.address,
        status,
        outcome,
        size,
        (time.perf_counter() - started) * 1000,
        "" if status == dicom_status.SUCCESS else f" detail={json.dumps(detail)}",
    )
    return _response(status, comment)


def _handle(request: C_STORE) -> bytes:
    """The handle that replaces the data set in the request."""
    return b"" if request.DataSet is None else request.DataSet.getvalue()


class _Mismatch(UnreadableImage):
    """The UIDs in command and data set differ."""

    dimse_status = dicom_status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    slug = "not-the-announced-object"
    title = "The data set is not the object of the command"


def _check_same(request: C_STORE, command: CStoreCommand, file: IncomingFile, limits: Limits) -> None:
    """PS3.4 B.2.2.1: command and data set must have the same SOP Class UID and SOP Instance UID."""
    identifiers = identity(file.header(), limits)
    sent = (command.sop_class_uid, command.sop_instance_uid)  # pynetdicom may have read other values
    parsed = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
    if not (identifiers.sop_class_uid, identifiers.sop_instance_uid) == sent == parsed:
        raise _Mismatch("the SOP UIDs of command and data set differ. Check the sender.")


def _response(status: int, comment: str) -> Dataset:
    response = Dataset()
    response.Status = status
    if status != dicom_status.SUCCESS:
        response.ErrorComment = comment[:_MAX_COMMENT]
    return response
