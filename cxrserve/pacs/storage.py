"""C-STORE: one received object, into the archive, and the status that tells the truth about it."""

from __future__ import annotations

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

from cxrserve.archive.archive import Archive
from cxrserve.archive.incoming import Incoming
from cxrserve.archive.receipt import Outcome, Source
from cxrserve.errors import CxrserveError, UnreadableImage
from cxrserve.imaging.dicom import is_uid
from cxrserve.imaging.dicom.identity import identity
from cxrserve.imaging.limits import Limits
from cxrserve.pacs.arrivals import Announced, Arrival
from cxrserve.pacs.connection import Messages

_access: Final = logging.getLogger("cxrserve.access")
_audit: Final = logging.getLogger("cxrserve.audit")
_log: Final = logging.getLogger("cxrserve.pacs")

SUCCESS: Final = 0x0000
MISMATCH: Final = 0xA900  # Data set does not match SOP class: PS3.4 Table B.2-1
OF_OUTCOME: Final[dict[Outcome, int]] = {
    "kept": SUCCESS,
    "duplicate": SUCCESS,
    "ignored": SUCCESS,
    "refused": 0x0124,  # Refused: not authorized, PS3.7 C.5.11; here: no rule takes it
    "quarantined": 0x0111,  # Duplicate SOP instance, PS3.7 C.5.6; here: with other content
}
_PREAMBLE: Final = b"\0" * 128 + b"DICM"  # PS3.10 7.1
_MOST_COMMENT: Final = 64  # Error Comment is LO
_PLAIN: Final = re.compile(r"[^A-Za-z0-9_.-]")


def begin(association: Association, archive: Archive, announced: Announced) -> Incoming:
    """A file for an object that is announced, with its meta information: PS3.10 7.1.

    Raises:
        UnreadableImage: it is announced with UIDs that are none, or in a context that was not accepted.
        OutOfResources: there is no room.
    """
    syntaxes = {each.context_id: each.transfer_syntax[0] for each in association.accepted_contexts}
    if not (
        announced.context in syntaxes
        and is_uid(announced.sop_class_uid)
        and is_uid(announced.sop_instance_uid)
    ):
        raise _Mismatch("an object is announced without sound UIDs, or in no accepted presentation context.")
    meta = create_file_meta(
        sop_class_uid=UID(announced.sop_class_uid),
        sop_instance_uid=UID(announced.sop_instance_uid),
        transfer_syntax=syntaxes[announced.context],
    )
    file = archive.begin()
    file.write(_PREAMBLE + encode_file_meta(meta))
    return file


def store(event: Event, archive: Archive, limits: Limits) -> Dataset:
    """Answer one C-STORE-RQ; success only where the archive has the object for good."""
    started = time.perf_counter()
    association = event.assoc
    source = Source(
        protocol="dimse",
        calling_ae=str(association.requestor.ae_title).strip(),
        address=str(association.requestor.address),
    )
    size = 0
    log, outcome = _access, "kept"
    arrivals = cast(Messages, association.dimse).arrivals
    arrival: Arrival | None = None
    try:
        request = cast(C_STORE, event.request)
        arrival = arrivals.take(_name(request))
        size = arrival.size
        file = arrival.file()
        _check_same(request, arrival.announced, file, limits)
        receipt = archive.receive(file, source)  # which writes the audit line
        status, comment, outcome = OF_OUTCOME[receipt.outcome], receipt.detail, receipt.outcome
    except CxrserveError as error:
        log, status, comment, outcome = _audit, error.dimse_status, error.title, error.slug
    except Exception as error:
        _log.error("an object could not be kept: %s", type(error).__name__)
        log, status, comment = _audit, CxrserveError.dimse_status, CxrserveError.title
        outcome = CxrserveError.slug
    finally:
        if arrival is not None:
            arrivals.done(arrival)
    log.info(
        "store calling_ae=%s address=%s status=%04X outcome=%s bytes=%d ms=%d",
        _PLAIN.sub("?", source.calling_ae) or "-",
        source.address,
        status,
        outcome,
        size,
        (time.perf_counter() - started) * 1000,
    )
    return _response(status, comment)


def _name(request: C_STORE) -> bytes:
    """What stands in the place of the data set."""
    return b"" if request.DataSet is None else request.DataSet.getvalue()


class _Mismatch(UnreadableImage):
    """The command and the data set speak of different objects."""

    dimse_status = MISMATCH
    slug = "not-the-announced-object"
    title = "The data set is not the object of the command"


def _check_same(request: C_STORE, announced: Announced, file: Incoming, limits: Limits) -> None:
    """PS3.4 B.2.2.1: what the command says of the object is what its data set says."""
    found = identity(file.header(), limits)
    read = (announced.sop_class_uid, announced.sop_instance_uid)  # which pynetdicom may have read otherwise
    said = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
    if not (found.sop_class_uid, found.sop_instance_uid) == read == said:
        raise _Mismatch("SOP Class UID or SOP Instance UID differ between command and data set.")


def _response(status: int, comment: str) -> Dataset:
    response = Dataset()
    response.Status = status
    if status != SUCCESS:
        response.ErrorComment = comment[:_MOST_COMMENT]
    return response
