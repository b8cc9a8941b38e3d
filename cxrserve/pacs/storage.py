"""C-STORE: one received object, into the archive, and the status that tells the truth about it."""

from __future__ import annotations

import logging
import re
import time
from typing import Final, cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event

from cxrserve.archive.archive import Archive
from cxrserve.archive.receipt import Outcome, Source
from cxrserve.errors import CxrserveError, UnreadableImage
from cxrserve.imaging.dicom.identity import identity
from cxrserve.imaging.limits import Limits
from cxrserve.pacs.arrivals import Arrival
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
    arrivals, arrival = cast(Messages, association.dimse).arrivals, Arrival()
    try:
        request = cast(C_STORE, event.request)
        arrival = arrivals.take(_name(request))
        size = arrival.counted
        part10 = arrival.part10(_PREAMBLE + encode_file_meta(event.file_meta))
        _check_same(request, part10, limits)
        receipt = archive.receive(part10, source)  # which writes the audit line
        status, comment, outcome = OF_OUTCOME[receipt.outcome], receipt.detail, receipt.outcome
    except CxrserveError as error:
        log, status, comment, outcome = _audit, error.dimse_status, error.title, error.slug
    except Exception as error:
        _log.error("an object could not be kept: %s", type(error).__name__)
        log, status, comment = _audit, CxrserveError.dimse_status, CxrserveError.title
        outcome = CxrserveError.slug
    finally:
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


def _check_same(request: C_STORE, part10: bytes, limits: Limits) -> None:
    """PS3.4 B.2.2.1: what the command says of the object is what its data set says."""
    found = identity(part10, limits)
    announced = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
    if (found.sop_class_uid, found.sop_instance_uid) != announced:
        raise _Mismatch("SOP Class UID or SOP Instance UID differ between command and data set.")


def _response(status: int, comment: str) -> Dataset:
    response = Dataset()
    response.Status = status
    if status != SUCCESS:
        response.ErrorComment = comment[:_MOST_COMMENT]
    return response
