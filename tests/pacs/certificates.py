"""Certificates for tests, made by openssl: an authority, and what it has signed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir()
        self._folder = folder
        self.own = self.self_signed("authority")

    def self_signed(self, name: str) -> Pair:
        """A certificate that nobody else has signed."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", pair.key, "-out", pair.certificate,
        )  # fmt: skip
        return pair

    def signed(self, name: str, *, days: int = 2) -> Pair:
        """A certificate for 127.0.0.1 that this authority has signed; expired where `days` is negative."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        extensions = self._folder / f"{name}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", pair.key, "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.own.certificate, "-CAkey", self.own.key,
            "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", pair.certificate,
        )  # fmt: skip
        return pair

    def revocation_list(self, *revoked: Pair, expired: bool = False) -> Path:
        """A revocation list of this authority that names these certificates; it replaces the last one."""
        folder = self._folder
        config, path = folder / "ca.cnf", folder / "crl.pem"
        config.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index.txt\ncrlnumber={folder}/crlnumber\n"
            "default_md=sha256\ndefault_crl_days=2\n"
        )
        (folder / "index.txt").touch()
        if not (folder / "crlnumber").exists():
            (folder / "crlnumber").write_text("01\n")
        signed_by = ("-config", config, "-cert", self.own.certificate, "-keyfile", self.own.key)
        for pair in revoked:
            _openssl("ca", *signed_by, "-revoke", pair.certificate)
        new = path.with_suffix(".new")
        past = ("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200102000000Z")
        _openssl("ca", *signed_by, "-gencrl", *(past if expired else ()), "-out", new)
        new.replace(path)
        return path


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
