"""TLS of a port that listens: TLS 1.2 or later, AEAD suites alone, client certificates, revocation lists."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cxrserve.errors import ConfigurationError
from cxrserve.file_changes import FileChanges

_log: Final = logging.getLogger("cxrserve.tls")
# Of TLS 1.2; all suites of TLS 1.3 are such. RFC 9325, 4.2
_SUITES: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerTlsFiles:
    """Files of a port, PEM.

    Attributes:
        port: its name in the log.
        certificate: with its chain.
        authorities: of the client certificates; None: clients need none.
        revocations: lists of revoked client certificates; when one has expired, its authority's are refused.
        authorities_setting, revocations_setting: names of the settings, for messages.
    """

    port: str
    certificate: Path
    key: Path
    authorities: Path | None
    revocations: Path | None
    authorities_setting: str
    revocations_setting: str


class ServerTls:
    """TLS context of a port, which follows its files. Thread-safe.

    A new certificate, key, list of authorities or revocation list is used for the next connection; open
    connections continue. Files that cannot be used change nothing. No session of an earlier context can be
    resumed, so a client that was revoked cannot come back with one.

    Raises on construction:
        ConfigurationError: a file is missing or invalid, or a setting is missing.
    """

    def __init__(self, files: ServerTlsFiles) -> None:
        self._files: Final = files
        self._lock: Final = threading.Lock()
        self._changes: Final = FileChanges(
            (files.certificate, files.key, files.authorities, files.revocations)
        )
        self._context = _context(files)

    def current(self) -> ssl.SSLContext:
        """The context for a new connection."""
        with self._lock:
            if self._changes.seen():
                try:
                    self._context = _context(self._files)
                    _log.info("the TLS files of %s were reloaded", self._files.port)
                except ConfigurationError as error:
                    _log.error("the TLS files were not reloaded, the old ones stay in use: %s", error.detail)
            return self._context

    def for_asyncio(self) -> ssl.SSLContext:
        """A context for `loop.create_server` that uses the current one for each new connection."""
        context = _FollowingContext(ssl.PROTOCOL_TLS_SERVER)
        context.follow(self)
        return context


class _FollowingContext(ssl.SSLContext):
    """A context that starts each connection with the current context of a `ServerTls`."""

    def follow(self, tls: ServerTls) -> None:
        self._tls = tls

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return self._tls.current().wrap_bio(*args, **options)


def _context(files: ServerTlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    load_files(context, files.certificate, files.key, files.authorities)
    if files.authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    if files.revocations is not None:
        if files.authorities is None:
            raise ConfigurationError(f"{files.revocations_setting} needs {files.authorities_setting}.")
        load_files(context, None, None, files.revocations)
        if not context.cert_store_stats()["crl"]:
            raise ConfigurationError(
                f"{files.revocations} ({files.revocations_setting}) has no revocation list."
            )
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def load_files(
    context: ssl.SSLContext, certificate: Path | None, key: Path | None, authorities: Path | None
) -> None:
    """Load a certificate with its key and a list of authorities, each if given.

    Raises:
        ConfigurationError: a file is missing or invalid.
    """
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
