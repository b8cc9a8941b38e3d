"""The audit message of DICOM PS3.15 A.5, as XML."""

from __future__ import annotations

import base64
import re
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from cxrserve.audit.event import Action, AuditEvent, Outcome


class _Code(NamedTuple):
    """A coded value: its code and its meaning, in the DICOM terminology unless `system` says otherwise."""

    value: str
    meaning: str
    system: str = "DCM"


class _Kind(NamedTuple):
    event: _Code
    action: str
    types: tuple[_Code, ...] = ()


_ACTIVITY: Final = _Code("110100", "Application Activity")
_TRANSFERRED: Final = _Code("110104", "DICOM Instances Transferred")
_KINDS: Final[dict[Action, _Kind]] = {
    "start": _Kind(_ACTIVITY, "E", (_Code("110120", "Application Start"),)),
    "stop": _Kind(_ACTIVITY, "E", (_Code("110121", "Application Stop"),)),
    "predict": _Kind(
        _Code("110103", "DICOM Instances Accessed"), "R", (_Code("predict", "Predict", "99CXRSERVE"),)
    ),
    "read": _Kind(_Code("110103", "DICOM Instances Accessed"), "R"),
    "query": _Kind(_Code("110112", "Query"), "E"),
    "store": _Kind(_TRANSFERRED, "C"),
    "pull": _Kind(_TRANSFERRED, "C", (_Code("pull", "Fetch from a PACS", "99CXRSERVE"),)),
    "correct": _Kind(
        _Code("110110", "Patient Record"), "U", (_Code("correct", "Correct patient or order", "99CXRSERVE"),)
    ),
    "release": _Kind(
        _Code("110103", "DICOM Instances Accessed"),
        "U",
        (_Code("release", "Release from quarantine", "99CXRSERVE"),),
    ),
    "delete": _Kind(_Code("110105", "DICOM Study Deleted"), "D"),
    "label": _Kind(
        _Code("110103", "DICOM Instances Accessed"), "U", (_Code("label", "Label a study", "99CXRSERVE"),)
    ),
    "export": _Kind(_Code("110106", "Export"), "R"),
    "login": _Kind(_Code("110114", "User Authentication"), "E", (_Code("110122", "Login"),)),
    "logout": _Kind(_Code("110114", "User Authentication"), "E", (_Code("110123", "Logout"),)),
    "refused": _Kind(
        _Code("110113", "Security Alert"), "E", (_Code("110132", "Use of Restricted Function"),)
    ),
    "association": _Kind(_Code("110113", "Security Alert"), "E", (_Code("110126", "Node Authentication"),)),
    "retry": _Kind(_ACTIVITY, "E", (_Code("retry", "Jobs tried again", "99CXRSERVE"),)),
    "purge": _Kind(_ACTIVITY, "E", (_Code("purge", "Jobs given up", "99CXRSERVE"),)),
}
_OUTCOMES: Final[dict[Outcome, str]] = {"success": "0", "failure": "4", "error": "8"}
_APPLICATION: Final = _Code("110150", "Application")
_SOURCE: Final = _Code("110153", "Source Role ID")
_DESTINATION: Final = _Code("110152", "Destination Role ID")
# XML 1.0 cannot hold these characters, not even escaped.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def message(event: AuditEvent, *, source: str, process: str) -> bytes:
    """The message as UTF-8, without an XML declaration.

    Args:
        source: the name of this node, as AuditSourceID.
        process: an id of this process, as AlternativeUserID.
    """
    kind = _KINDS[event.action]
    root = ET.Element("AuditMessage")
    identification = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=kind.action,
        EventDateTime=event.time.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=_OUTCOMES[event.outcome],
    )
    _code(identification, "EventID", kind.event)
    for type_ in kind.types:
        _code(identification, "EventTypeCode", type_)
    if event.outcome != "success":
        ET.SubElement(identification, "EventOutcomeDescription").text = _text(event.detail)
    _participants(root, event, source=source, process=process)
    audit_source = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=_text(source))
    ET.SubElement(audit_source, "AuditSourceTypeCode", {"csd-code": "4"})
    _objects(root, event)
    encoded: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return encoded


def _participants(root: ET.Element, event: AuditEvent, *, source: str, process: str) -> None:
    transfer = event.action in ("store", "pull")
    own = event.action in ("start", "stop", "delete")
    if not own or event.user:
        client = ET.SubElement(
            root, "ActiveParticipant", UserID=_text(event.user) or "anonymous", UserIsRequestor="true"
        )
        if event.address:
            client.set("NetworkAccessPointID", _text(event.address))
            client.set("NetworkAccessPointTypeCode", "2")
        if event.action == "store":
            _code(client, "RoleIDCode", _SOURCE)
    service = ET.SubElement(
        root,
        "ActiveParticipant",
        UserID=_text(source),
        AlternativeUserID=_text(process),
        UserName="cxrserve",
        UserIsRequestor="true" if own and not event.user else "false",
    )
    _code(service, "RoleIDCode", _DESTINATION if transfer else _APPLICATION)


def _objects(root: ET.Element, event: AuditEvent) -> None:
    for position, study in enumerate(event.studies):
        item = _object(root, study, "2", "3", _Code("110180", "Study Instance UID"), "study")
        description = ET.SubElement(item, "ParticipantObjectDescription")
        if position == 0:
            for accession in event.accessions:
                ET.SubElement(description, "Accession", Number=_text(accession))
            if event.images:
                images = ET.SubElement(description, "SOPClass", NumberOfInstances=str(len(event.images)))
                for image in event.images:
                    ET.SubElement(images, "Instance", UID=_text(image))
    for patient in event.patients:
        _object(root, patient, "1", "1", _Code("2", "Patient Number", "RFC-3881"), "patient")
    for file in event.files:
        _object(root, file, "2", "4", _Code("sha256", "SHA-256 of the file", "99CXRSERVE"), "file")
    if event.action == "query":
        item = _object(root, "studies", "2", "24", _Code("query", "Query string", "99CXRSERVE"), None)
        query = base64.b64encode(event.query.encode("utf-8", "replace")).decode()
        ET.SubElement(item, "ParticipantObjectQuery").text = query
    if event.request:
        _object(root, event.request, "4", "20", _Code("request", "HTTP request", "99CXRSERVE"), "request")


def _object(root: ET.Element, id_: str, type_: str, role: str, code: _Code, name: str | None) -> ET.Element:
    item = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(id_),
        ParticipantObjectTypeCode=type_,
        ParticipantObjectTypeCodeRole=role,
    )
    _code(item, "ParticipantObjectIDTypeCode", code)
    if name is not None:
        ET.SubElement(item, "ParticipantObjectName").text = name
    return item


def _code(parent: ET.Element, name: str, code: _Code) -> None:
    ET.SubElement(
        parent,
        name,
        {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning},
    )


def _text(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)
