"""Audit messages are valid by the standard's schema, whatever text they hold, and survive a dead server."""

from __future__ import annotations

import json
import ssl
import stat
import typing
from pathlib import Path

import pytest
from lxml import etree

from cxrserve.audit.dicom_message import message
from cxrserve.audit.event import Action, AuditEvent, Outcome
from cxrserve.audit.spool import Spool
from cxrserve.audit.syslog import SyslogTls, syslog_message
from cxrserve.audit.trail import open_trail, record
from cxrserve.errors import ConfigurationError
from tests.audit.syslog_server import syslog_server
from tests.conftest import MakeSettings
from tests.pacs.certificates import Authority

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))


def parsed(xml: bytes) -> etree._Element:
    """The message, which the schema of PS3.15 A.5.1 allows."""
    root = etree.fromstring(xml)
    SCHEMA.assertValid(root)
    return root


@pytest.mark.parametrize("action", typing.get_args(Action))
@pytest.mark.parametrize("outcome", typing.get_args(Outcome))
def test_every_message_is_valid(action: Action, outcome: Outcome) -> None:
    event = AuditEvent(
        action=action,
        outcome=outcome,
        detail="some-slug",
        user="Dr. Jane <Doe> & 患者\0\x1b",
        address="192.0.2.1",
        studies=("1.2.3", "1.2.4"),
        images=("1.2.3.4",),
        patients=("ID \0 & <b>",),
        accessions=("A'17\"",),
        files=("0" * 64,),
        query="search=M%C3%BCller\0",
        request="f5e6",
    )
    root = parsed(message(event, source="node", process="17"))
    ids = [each.get("ParticipantObjectID") for each in root.iter("ParticipantObjectIdentification")]
    assert ids[:2] == ["1.2.3", "1.2.4"]
    assert root[0].get("EventOutcomeIndicator") == {"success": "0", "failure": "4", "error": "8"}[outcome]


@pytest.mark.parametrize("action", typing.get_args(Action))
def test_a_message_with_nothing_in_it_is_valid(action: Action) -> None:
    parsed(message(AuditEvent(action=action), source="node", process="17"))


def test_the_schema_refuses_what_is_wrong() -> None:
    good = message(AuditEvent(action="read"), source="node", process="17")
    for old, new in (
        (b'EventOutcomeIndicator="0"', b'EventOutcomeIndicator="1"'),
        (b"csd-code", b"code"),
        (b'UserIsRequestor="true"', b'UserIsRequestor="perhaps"'),
        (b"AuditSourceID=", b"AuditSource="),
    ):
        assert old in good
        assert not SCHEMA.validate(etree.fromstring(good.replace(old, new)))


def test_the_syslog_header() -> None:
    """RFC 5424 and PS3.15 A.6: facility 10, MSGID, and a byte order mark before the XML."""
    text = syslog_message(AuditEvent(action="start"), node="node")
    head, _, xml = text.partition(b"\xef\xbb\xbf")
    assert head.startswith(b"<85>1 20")
    assert head.split(b" ")[3] == b"cxrserve"
    assert head.endswith(b" DICOM+RFC3881 - ")
    parsed(xml)


def test_the_spool_survives_the_process_and_the_server(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server_pair, client_pair = authority.signed("server"), authority.signed("client")
    context = ssl.create_default_context(cafile=authority.own.certificate)
    context.load_cert_chain(client_pair.certificate, client_pair.key)
    folder = tmp_path / "spool"
    with syslog_server(authority, server_pair) as first:
        port = first.port
    # Nobody listens: three messages wait, and the process ends.
    sink = SyslogTls("127.0.0.1", port, context, Spool(folder), node="node")
    for number in range(3):
        sink.write(AuditEvent(action="read", studies=(f"1.{number}",)))
    sink.close()
    assert len([*Spool(folder).waiting()]) == 3
    with syslog_server(authority, server_pair, port) as second:
        sink = SyslogTls("127.0.0.1", port, context, Spool(folder), node="node")
        sink.write(AuditEvent(action="read", studies=("1.3",)))
        messages = second.wait(4)
        sink.close()
    assert [f'"1.{number}"'.encode() in each for number, each in enumerate(messages)] == [True] * 4
    assert [*Spool(folder).waiting()] == []


def test_json_lines_are_for_this_user_alone(make_settings: MakeSettings, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with open_trail(make_settings(audit=f"file:{path}")):
        record(AuditEvent(action="read", user="viewer", studies=("1.2.3",), patients=("P\n1",)))
    record(AuditEvent(action="read"))  # after the end: nowhere
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["start", "read", "stop"]
    assert lines[1]["patients"] == ["P\n1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["stdout", "file:audit", "syslog://host", "file:/nowhere/at/all/audit"])
def test_a_sink_that_cannot_be_used_stops_the_start(make_settings: MakeSettings, text: str) -> None:
    with pytest.raises(ConfigurationError, match="CXRSERVE_AUDIT"), open_trail(make_settings(audit=text)):
        pass
