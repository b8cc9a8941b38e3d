"""Callers bound to their certificates, revocation, renewal while associations are open, audit of refusals."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import ValidationError
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from cxrserve.archive.callers import Caller
from cxrserve.errors import ConfigurationError
from cxrserve.pacs.node import _check_callers
from cxrserve.pacs.tls import node_tls
from tests import dcmtk
from tests.conftest import MakeSettings
from tests.pacs.certificates import Authority, Pair
from tests.stations import Station, station
from tests.waiting import until


def fingerprint(pair: Pair) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())).hexdigest()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("callers") / "authority")


@pytest.fixture(scope="module")
def pairs(authority: Authority) -> dict[str, Pair]:
    return {name: authority.signed(name) for name in ("ct1", "ct2", "intruder", "lost")}


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The node's own certificate, which a test renews."""
    folder, pair = tmp_path_factory.mktemp("node"), authority.signed("node")
    copy = Pair(folder / "node.pem", folder / "node.key")
    copy.certificate.write_bytes(pair.certificate.read_bytes())
    copy.key.write_bytes(pair.key.read_bytes())
    return copy


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def node(
    tiny_bundle: Path,
    authority: Authority,
    pairs: dict[str, Pair],
    files: Pair,
    audit: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Station]:
    callers = [
        {"ae_title": "CT1", "certificates": ["cn:ct1"]},
        {"ae_title": "CT2", "certificates": [f"sha256:{fingerprint(pairs['ct2'])}"]},
        {"ae_title": "NAMED", "certificates": ["dns:LOCALHOST"]},
        {"ae_title": "OPEN"},
    ]
    with station(
        tiny_bundle,
        tmp_path_factory.mktemp("bound") / "archive",
        {"callers": callers, "rules": [{"name": "all"}]},
        "--no-http",
        dicom_tls_certificate=files.certificate,
        dicom_tls_key=files.key,
        dicom_tls_ca=authority.own.certificate,
        dicom_tls_crl=authority.revocation_list(pairs["lost"]),
        dicom_accept_timeout_s=60,
        dicom_idle_timeout_s=600,
        audit=f"file:{audit}",
    ) as running:
        yield running


def associate(node: Station, pair: Pair, title: str) -> Association:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pair.certificate, pair.key)
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 600
    entity.add_requested_context(Verification)
    return entity.associate(
        "127.0.0.1", node.dicom_port, ae_title="CXRSERVE", tls_args=(context, "127.0.0.1")
    )


def echoes(node: Station, pair: Pair, title: str) -> bool:
    output = dcmtk.echoscu(node.dicom_port, "+tls", pair.key, pair.certificate, "-ic", "-aet", title)
    return "Received Echo Response (Success)" in output


@pytest.mark.parametrize(
    ("title", "name", "expected"),
    [
        ("CT1", "ct1", True),
        ("CT1", "ct2", False),
        ("CT1", "intruder", False),
        ("CT2", "ct2", True),
        ("CT2", "ct1", False),
        ("NAMED", "intruder", True),  # all certificates of the tests are for localhost
        ("OPEN", "intruder", True),
        ("OPEN", "lost", False),
        ("STRANGER", "ct1", False),
    ],
)
def test_an_ae_title_belongs_to_its_certificate(
    node: Station, pairs: dict[str, Pair], title: str, name: str, expected: bool
) -> None:
    assert echoes(node, pairs[name], title) is expected


def _refusals(audit: Path) -> list[tuple[str, str, str]]:
    events = [json.loads(line) for line in audit.read_text().splitlines()]
    return [
        (event.get("user", ""), event["detail"], event["address"])
        for event in events
        if event["action"] == "association"
    ]


def test_each_refused_association_is_in_the_audit_trail_once(
    node: Station, pairs: dict[str, Pair], audit: Path
) -> None:
    def refused(title: str) -> list[tuple[str, str, str]]:
        """Events are written in order: when that of this caller is there, all earlier ones are."""
        assert not echoes(node, pairs["ct1"], title)
        event = (title, "calling-ae-title", "127.0.0.1")
        until(lambda: event in _refusals(audit), 60)
        return _refusals(audit)

    before = refused("FIRST")
    assert not echoes(node, pairs["lost"], "CT1")
    assert echoes(node, pairs["ct1"], "CT1")
    assert refused("SECOND")[len(before) :] == [
        ("", "tls", "127.0.0.1"),
        ("SECOND", "calling-ae-title", "127.0.0.1"),
    ]


def test_a_renewed_certificate_and_list_are_used_and_open_associations_stay(
    node: Station, authority: Authority, pairs: dict[str, Pair], files: Pair
) -> None:
    def shown() -> str:
        return sha256(
            ssl.PEM_cert_to_DER_cert(_server_certificate(node.dicom_port, pairs["ct1"]))
        ).hexdigest()

    assert shown() == fingerprint(files)
    association = associate(node, pairs["ct2"], "CT2")
    assert association.is_established
    renewed = authority.signed("renewed")
    files.certificate.write_bytes(renewed.certificate.read_bytes())  # first half: it does not fit its key
    assert echoes(node, pairs["ct1"], "CT1")
    node.said("the TLS files were not reloaded, the old ones stay in use")
    files.key.write_bytes(renewed.key.read_bytes())
    assert shown() == fingerprint(renewed)
    authority.revocation_list(pairs["ct2"])
    assert not echoes(node, pairs["ct2"], "CT2")
    assert association.send_c_echo().Status == 0  # opened before
    association.release()


def _server_certificate(port: int, pair: Pair) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pair.certificate, pair.key)
    with (
        socket.create_connection(("127.0.0.1", port), 60) as plain,
        context.wrap_socket(plain) as connection,
    ):
        encoded = connection.getpeercert(binary_form=True)
    assert encoded is not None
    return ssl.DER_cert_to_PEM_cert(encoded)


def test_suites_without_authentication_of_the_data_are_refused(node: Station, pairs: dict[str, Pair]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(pairs["ct1"].certificate, pairs["ct1"].key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA")
    with (
        socket.create_connection(("127.0.0.1", node.dicom_port), 60) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_beyond_this_machine_callers_must_be_named(make_settings: MakeSettings) -> None:
    anyone, named = (), (Caller(ae_title="*"),)
    _check_callers(make_settings(), anyone)
    _check_callers(make_settings(host="0.0.0.0"), named)
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ConfigurationError, match="would accept every caller"):
            _check_callers(make_settings(host=host), anyone)
    bound = (Caller(ae_title="A", certificates=("cn:a",)),)
    with pytest.raises(ConfigurationError, match="CXRSERVE_DICOM_TLS_CA"):
        _check_callers(make_settings(), bound)


@pytest.mark.parametrize("name", ["sha256:00", "ct1", "cn:", "dns:", "md5:" + "0" * 64])
def test_a_certificate_has_one_of_three_forms(name: str) -> None:
    with pytest.raises(ValidationError, match="neither sha256"):
        Caller(ae_title="A", certificates=(name,))
    colons = ":".join(["AB"] * 32)
    assert Caller(ae_title="A", certificates=(f"sha256:{colons}",)).certificates == (f"sha256:{'ab' * 32}",)


def test_a_revocation_list_that_cannot_be_used(
    make_settings: MakeSettings, authority: Authority, pairs: dict[str, Pair]
) -> None:
    own = {"dicom_tls_certificate": pairs["ct1"].certificate, "dicom_tls_key": pairs["ct1"].key}
    with pytest.raises(ConfigurationError, match="CXRSERVE_DICOM_TLS_CA"):
        node_tls(make_settings(**own, dicom_tls_crl=authority.revocation_list()))
    with pytest.raises(ConfigurationError, match="has no revocation list"):
        node_tls(
            make_settings(
                **own, dicom_tls_ca=authority.own.certificate, dicom_tls_crl=authority.own.certificate
            )
        )
