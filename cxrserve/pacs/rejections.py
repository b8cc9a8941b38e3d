"""Rejected associations and presentation contexts: logged with the cause and the remedy, and counted.

pynetdicom's own log is off, because it writes data sets, patients included. This log tells an administrator
the reason, without any text from the peer but its AE titles.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import Final

from prometheus_client import Counter
from pydicom.uid import UID
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext

from cxrserve.audit.event import AuditEvent
from cxrserve.audit.trail import record
from cxrserve.pacs.presentation_contexts import STORAGE_CLASSES

_log: Final = logging.getLogger("cxrserve.pacs")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_TRANSFER_SYNTAXES: Final = 4  # result "transfer syntaxes not supported": PS3.8 Table 9-18
_MAX_NAMES: Final = 8
_MAX_REMEMBERED: Final = 1000


class Rejections:
    """Logs and counts rejections. Thread-safe.

    Args:
        ae_title: of this node.
        counter: with the label "reason".
    """

    def __init__(self, ae_title: str, counter: Counter) -> None:
        self._ae_title: Final = ae_title
        self._counter: Final = counter
        self._lock: Final = threading.Lock()
        self._remembered: Final[set[str]] = set()

    def count(self, reason: str, address: str = "", ae_title: str = "") -> None:
        """Count a rejection that is logged elsewhere, and record it in the audit trail if a peer is known."""
        self._counter.labels(reason).inc()
        if address:
            record(
                AuditEvent(
                    action="association", outcome="failure", detail=reason, user=ae_title, address=address
                )
            )

    def on_rejected(self, event: Event) -> None:
        """Handle an association that pynetdicom has rejected: EVT_REJECTED."""
        request = event.assoc.requestor.primitive
        called = "" if request is None else str(request.called_ae_title).strip()
        if called != self._ae_title:
            self.count("called-ae-title", *_address_and_title(event))
            _log.warning(
                "association from %s rejected: it calls the AE title %r, but this node is %r. Correct the AE "
                "title there, or set CXRSERVE_DICOM_AE_TITLE; upper and lower case differ.",
                _peer(event), _UNPRINTABLE.sub("?", called)[:16], self._ae_title,
            )  # fmt: skip
        else:
            self.count("other", *_address_and_title(event))
            _log.warning("association from %s rejected by the upper layer.", _peer(event))

    def on_caller(self, event: Event) -> None:
        """Log and count an association from a caller that the rules do not name."""
        self.count("calling-ae-title", *_address_and_title(event))
        _log.warning(
            "association from %s rejected: no rule names that caller. Add its AE title and address to "
            "`callers` in the rules, and its certificate if they name any.",
            _peer(event),
        )

    def on_accepted(self, event: Event) -> None:
        """Handle the contexts that were rejected in an accepted association: EVT_ACCEPTED."""
        rejected = event.assoc.rejected_contexts
        if not rejected:
            return
        if not event.assoc.accepted_contexts:
            self.count("no-presentation-context", *_address_and_title(event))
            _log.warning(
                "association from %s has no presentation context that this node accepts. Rejected: %s. It "
                "stores %s.",
                _peer(event), _names(rejected), ", ".join(sop_class.name for sop_class in STORAGE_CLASSES),
            )  # fmt: skip
            return
        self.count("some-presentation-contexts")
        message = f"association from {_peer(event)}: presentation contexts rejected: {_names(rejected)}"
        if self._is_new(message):  # many modalities propose everything that they know
            _log.info("%s. The other contexts are accepted. This line appears once.", message)

    def _is_new(self, message: str) -> bool:
        with self._lock:
            if message in self._remembered:
                return False
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered.add(message)
            return True


def _peer(event: Event) -> str:
    address, title = _address_and_title(event)
    return f"{title or '-'} at {address}"


def _address_and_title(event: Event) -> tuple[str, str]:
    """The peer's address and its printable calling AE title."""
    requestor = event.assoc.requestor
    request = requestor.primitive
    title = "" if request is None else str(request.calling_ae_title).strip()
    return str(requestor.address), _UNPRINTABLE.sub("?", title)[:16]


def _names(contexts: list[PresentationContext]) -> str:
    """The SOP classes of `contexts`, and whether the class or its transfer syntaxes are the cause."""
    names = sorted({_name(context) for context in contexts})
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return "; ".join(names[:_MAX_NAMES]) + more


def _name(context: PresentationContext) -> str:
    uid = UID(context.abstract_syntax or "")
    name = uid.name if uid.name != uid else f"unknown SOP class {_UNPRINTABLE.sub('?', uid)[:64]}"
    if context.result != _TRANSFER_SYNTAXES:
        return f"{name} (SOP class not supported)"
    syntaxes = sorted({UID(syntax).name for syntax in context.transfer_syntax})
    return f"{name} (transfer syntax not supported: {', '.join(syntaxes[:4])})"
