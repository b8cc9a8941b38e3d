"""TLS of the node and its peers: TLS 1.2 or later, AEAD suites alone (PS3.15 B.12, the BCP 195 profile)."""

from __future__ import annotations

import logging
import ssl
import threading
from hashlib import sha256
from pathlib import Path
from typing import Final

from cxrserve.archive.callers import PeerCertificate
from cxrserve.archive.tls_files import TlsFiles
from cxrserve.errors import ConfigurationError
from cxrserve.file_changes import FileChanges
from cxrserve.settings import Settings

_log: Final = logging.getLogger("cxrserve.pacs")
# Of TLS 1.2; all suites of TLS 1.3 are such. RFC 9325, 4.2
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


class NodeTls:
    """The node's TLS context, which follows its files. Thread-safe.

    A new certificate, key, list of authorities or revocation list is used for the next connection; open
    associations continue. Files that cannot be used change nothing.

    Raises on construction:
        ConfigurationError: a file is missing or invalid, or a setting is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._lock: Final = threading.Lock()
        self._changes: Final = FileChanges(
            (
                settings.dicom_tls_certificate,
                settings.dicom_tls_key,
                settings.dicom_tls_ca,
                settings.dicom_tls_crl,
            )
        )
        self._context = _node_context(settings)

    @classmethod
    def of(cls, settings: Settings) -> NodeTls | None:
        """The node's TLS; None where no certificate is set.

        Raises:
            ConfigurationError: as the constructor.
        """
        if settings.dicom_tls_certificate is not None and settings.dicom_tls_key is not None:
            return cls(settings)
        if settings.dicom_tls_certificate or settings.dicom_tls_key or settings.dicom_tls_ca:
            raise ConfigurationError(
                "TLS for the DICOM node needs CXRSERVE_DICOM_TLS_CERTIFICATE and CXRSERVE_DICOM_TLS_KEY; "
                "CXRSERVE_DICOM_TLS_CA only adds client certificates."
            )
        return None

    def current(self) -> ssl.SSLContext:
        """The context for a new connection."""
        with self._lock:
            if self._changes.seen():
                try:
                    self._context = _node_context(self._settings)
                    _log.info("the TLS files of the DICOM node were reloaded")
                except ConfigurationError as error:
                    _log.error("the TLS files were not reloaded, the old ones stay in use: %s", error.detail)
            return self._context


def _node_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    _load(context, settings.dicom_tls_certificate, settings.dicom_tls_key, settings.dicom_tls_ca)
    if settings.dicom_tls_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    if settings.dicom_tls_crl is not None:
        if settings.dicom_tls_ca is None:
            raise ConfigurationError("CXRSERVE_DICOM_TLS_CRL needs CXRSERVE_DICOM_TLS_CA.")
        _load(context, None, None, settings.dicom_tls_crl)
        if not context.cert_store_stats()["crl"]:
            raise ConfigurationError(
                f"{settings.dicom_tls_crl} (CXRSERVE_DICOM_TLS_CRL) has no revocation list."
            )
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def peer_certificate(connection: object) -> PeerCertificate | None:
    """The certificate that a peer has shown and proved; None without TLS or without a certificate."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    encoded, fields = connection.getpeercert(binary_form=True), connection.getpeercert()
    if not encoded or not fields:  # fields are empty where the certificate was not checked
        return None
    names = {f"sha256:{sha256(encoded).hexdigest()}"}
    for part in fields.get("subject", ()):
        for key, value in (pair for pair in part if isinstance(pair, tuple)):
            if key == "commonName":
                names.add(f"cn:{value}")
    for entry in fields.get("subjectAltName", ()):
        if isinstance(entry, tuple) and entry[0] == "DNS":
            names.add(f"dns:{entry[1].lower()}")
    return PeerCertificate(names=frozenset(names))


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """The context for a peer: its certificate must be signed by `ca_file` and name its host.

    Raises:
        ConfigurationError: a file is missing or invalid.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, files.certificate_file, files.key_file, files.ca_file)
    return context


def _load(
    context: ssl.SSLContext, certificate: Path | None, key: Path | None, authorities: Path | None
) -> None:
    try:
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        if authorities is not None:
            context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        paths = ", ".join(str(path) for path in (certificate, key, authorities) if path is not None)
        raise ConfigurationError(
            f"the TLS files {paths} cannot be used: {getattr(error, 'reason', None) or error.strerror}."
        ) from error
