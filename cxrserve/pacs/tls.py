"""TLS for DICOM, at least 1.2 (PS3.15 B.12, the BCP 195 profile), for the node and towards its peers."""

from __future__ import annotations

import ssl
from pathlib import Path

from cxrserve.archive.tls_files import TlsFiles
from cxrserve.errors import ConfigurationError
from cxrserve.settings import Settings


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """The node's TLS context; None where no certificate is set.

    With `dicom_tls_ca`, only clients with a certificate signed by it get in.

    Raises:
        ConfigurationError: a file is missing or does not fit, or only one of certificate and key is set.
    """
    certificate, key, authorities = (
        settings.dicom_tls_certificate,
        settings.dicom_tls_key,
        settings.dicom_tls_ca,
    )
    if certificate is None or key is None:
        if certificate or key or authorities:
            raise ConfigurationError(
                "TLS for the DICOM node needs CXRSERVE_DICOM_TLS_CERTIFICATE and CXRSERVE_DICOM_TLS_KEY; "
                "CXRSERVE_DICOM_TLS_CA asks for client certificates beside them."
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, certificate, key, authorities)
    if authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """The context for a peer: its certificate must be signed by `ca_file` and bear its host's name.

    Raises:
        ConfigurationError: a file is missing or does not fit.
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
        named = ", ".join(str(each) for each in (certificate, key, authorities) if each is not None)
        raise ConfigurationError(
            f"the TLS files {named} cannot be used: {getattr(error, 'reason', None) or error.strerror}."
        ) from error
