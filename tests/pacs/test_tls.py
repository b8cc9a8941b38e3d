"""TLS at the DICOM port, with dcmtk's tools and with sockets: who gets in, and who does not."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from cxrserve.archive.destination import DeliveryError
from cxrserve.archive.peers import DimsePeer
from cxrserve.archive.tls_files import TlsFiles
from cxrserve.pacs.echo import echo
from tests import dcmtk
from tests.orthanc import free_port
from tests.pacs import upper_layer as ul
from tests.pacs.certificates import Authority, Pair
from tests.pacs.conftest import new_chest
from tests.pacs.test_node import DX, commit
from tests.stations import Station, station


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def modality(authority: Authority) -> Pair:
    return authority.signed("modality")


@pytest.fixture(scope="module")
def guarded(
    tiny_bundle: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """A station that speaks TLS only, and asks for certificates of `authority`."""
    own = authority.signed("node")
    with station(
        tiny_bundle,
        tmp_path_factory.mktemp("guarded") / "archive",
        {"rules": [{"name": "all"}]},
        "--no-http",
        dicom_tls_certificate=own.certificate,
        dicom_tls_key=own.key,
        dicom_tls_ca=authority.own.certificate,
        dicom_accept_timeout_s=2,
    ) as running:
        yield running


def tls(pair: Pair, authority: Authority) -> tuple[str | Path, ...]:
    """dcmtk's options."""
    return ("+tls", pair.key, pair.certificate, "+cf", authority.own.certificate, "-ic")


def test_a_known_certificate_gets_in(
    guarded: Station, authority: Authority, modality: Pair, tmp_path: Path
) -> None:
    file = new_chest(tmp_path / "chest.dcm")
    said = dcmtk.storescu(guarded.dicom_port, file, options=tls(modality, authority))
    assert "Received Store Response (Success)" in said, said


def test_strangers_stay_outside(
    guarded: Station, authority: Authority, modality: Pair, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    for pair in (
        stranger.self_signed("self-signed"),
        stranger.signed("of-another-authority"),
        authority.signed("expired", days=-1),
    ):
        assert "Success" not in dcmtk.echoscu(guarded.dicom_port, *tls(pair, authority))
    # anonymous TLS, and none at all
    assert "Success" not in dcmtk.echoscu(guarded.dicom_port, "+tla", "-ic")
    assert "Success" not in dcmtk.echoscu(guarded.dicom_port)
    assert "Success" in dcmtk.echoscu(guarded.dicom_port, *tls(modality, authority))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(guarded: Station, authority: Authority, modality: Pair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(modality.certificate, modality.key)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with ul.connect(guarded.dicom_port) as connection, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(connection)


def test_a_handshake_that_never_comes_holds_nobody_up(
    guarded: Station, authority: Authority, modality: Pair
) -> None:
    silent = [ul.connect(guarded.dicom_port) for _ in range(200)]
    try:
        started = time.monotonic()
        assert "Success" in dcmtk.echoscu(guarded.dicom_port, *tls(modality, authority))
        assert time.monotonic() - started < 5
        assert ul.seconds_until_closed(silent.pop()) < 6
    finally:
        for each in silent:
            each.close()


def test_our_client_shows_its_certificate_and_checks_the_other(
    guarded: Station, authority: Authority, modality: Pair, tmp_path: Path
) -> None:
    peer = DimsePeer(
        protocol="dimse",
        ae_title="CXRSERVE",
        host="127.0.0.1",
        port=guarded.dicom_port,
        timeout_s=5,
        tls=TlsFiles(
            ca_file=authority.own.certificate,
            certificate_file=modality.certificate,
            key_file=modality.key,
        ),
    )
    assert echo(peer, "CLIENT") > 0
    stranger = Authority(tmp_path / "stranger")
    distrusting = peer.model_copy(update={"tls": TlsFiles(ca_file=stranger.own.certificate)})
    with pytest.raises(DeliveryError):
        echo(distrusting, "CLIENT")


def test_a_commitment_is_reported_by_tls_to_whom_the_rules_say(
    tiny_bundle: Path, authority: Authority, modality: Pair, tmp_path: Path
) -> None:
    port, reported = free_port(), threading.Event()

    def on_report(event: Event) -> tuple[int, None]:
        reported.set()
        return 0x0000, None

    tls_files = {"ca_file": str(authority.own.certificate)}
    reports_to = {"host": "127.0.0.1", "port": port, "tls": tls_files}
    rules = {"callers": [{"ae_title": "MODALITY", "reports_to": reports_to}], "rules": [{"name": "all"}]}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(modality.certificate, modality.key)
    entity = AE("MODALITY")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    with station(tiny_bundle, tmp_path / "archive", rules, "--no-http") as node:
        server = entity.start_server(
            ("127.0.0.1", port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)],
            ssl_context=context,
        )
        assert server is not None
        try:
            assert commit(node, [(str(DX), generate_uid())])[1] == 0x0000
            assert reported.wait(30), node.lines[-10:]
        finally:
            server.shutdown()
