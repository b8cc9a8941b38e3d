"""TLS of the node and its peers: TLS 1.2 or later, AEAD suites alone (PS3.15 B.12, the BCP 195 profile)."""

from __future__ import annotations

import ssl
from hashlib import sha256

from cxrserve.archive.callers import PeerCertificate
from cxrserve.archive.tls_files import TlsFiles
from cxrserve.errors import ConfigurationError
from cxrserve.server_tls import ServerTls, ServerTlsFiles, load_files
from cxrserve.settings import Settings


def node_tls(settings: Settings) -> ServerTls | None:
    """The TLS of the node; None where no certificate is set.

    Raises:
        ConfigurationError: a file is missing or invalid, or a setting is missing.
    """
    if settings.dicom_tls_certificate is not None and settings.dicom_tls_key is not None:
        return ServerTls(
            ServerTlsFiles(
                port="the DICOM node",
                certificate=settings.dicom_tls_certificate,
                key=settings.dicom_tls_key,
                authorities=settings.dicom_tls_ca,
                revocations=settings.dicom_tls_crl,
                authorities_setting="CXRSERVE_DICOM_TLS_CA",
                revocations_setting="CXRSERVE_DICOM_TLS_CRL",
            )
        )
    if settings.dicom_tls_certificate or settings.dicom_tls_key or settings.dicom_tls_ca:
        raise ConfigurationError(
            "TLS for the DICOM node needs CXRSERVE_DICOM_TLS_CERTIFICATE and CXRSERVE_DICOM_TLS_KEY; "
            "CXRSERVE_DICOM_TLS_CA only adds client certificates."
        )
    return None


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
    load_files(context, files.certificate_file, files.key_file, files.ca_file)
    return context
