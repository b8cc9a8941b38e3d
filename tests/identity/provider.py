"""The identity provider of the tests as a process: start, tokens, new keys, an outage."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import playwright
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.orthanc import free_port
from tests.waiting import until

FOLDER = Path(__file__).parent
SECRET = "secret-of-the-tests-0123456789abcdef"
AUDIENCE = "urn:cxrserve"
# Roles of clients and of users. Anyone may sign in with any password.
ROLES: Mapping[str, list[str]] = {
    "radiologist": ["radiologist"],
    "gateway": ["gateway"],
    "boss": ["pacs-admin", "unknown-role"],
    "nobody": [],
}


def _node() -> str:
    """Node.js: the one that Playwright brings, or the system's."""
    bundled = Path(playwright.__file__).parent / "driver" / "node"
    node = str(bundled) if bundled.is_file() else shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    return node


def _install() -> None:
    if (FOLDER / "node_modules" / "oidc-provider").is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("the identity provider is not installed: npm --prefix tests/identity ci")
    done = subprocess.run([npm, "ci", "--silent", "--no-audit"], cwd=FOLDER, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the identity provider cannot be installed: {done.stderr[-300:]}")


class SigningKey:
    """A key of the provider, as JWK and as private key."""

    def __init__(self, key_id: str, kind: str = "RSA") -> None:
        self.key_id = key_id
        self.algorithm = "RS256" if kind == "RSA" else "ES256"
        if kind == "RSA":
            self.private: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            jwk = RSAAlgorithm.to_jwk(self.private)
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())
            jwk = ECAlgorithm.to_jwk(self.private)
        self.jwk = {**json.loads(jwk), "kid": key_id, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: Mapping[str, Any], **headers: Any) -> str:
        """A token that this key signs; `headers` replace the usual ones."""
        usual = {"typ": "at+jwt", "kid": self.key_id}
        algorithm = headers.pop("alg", self.algorithm)
        return jwt.encode(dict(claims), self.private, algorithm=algorithm, headers={**usual, **headers})


class IdentityProvider:
    """The process, on a port that stays the same over restarts."""

    def __init__(self, key: SigningKey, redirect_uri: str, logout_uri: str) -> None:
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"  # another site than 127.0.0.1
        self.key = key
        self.elliptic = SigningKey("elliptic", "EC")
        self.lines: list[str] = []
        self._uris = {"redirect_uri": redirect_uri, "logout_uri": logout_uri}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the provider with `key`, and wait until it listens."""
        config = {
            "port": self.port,
            "issuer": self.issuer,
            "keys": [self.key.jwk, self.elliptic.jwk],
            "roles": ROLES,
            "secret": SECRET,
            **self._uris,
        }
        self.lines.clear()
        self._process = subprocess.Popen(
            [_node(), "provider.mjs", json.dumps(config)],
            cwd=FOLDER,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        until(lambda: "ready" in self.lines or self._ended(), 120)
        assert not self._ended(), self.lines

    def stop(self) -> None:
        """End it: an outage."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def count(self, path: str) -> int:
        """The number of requests to a path since the start."""
        return sum(f" {path} " in line for line in self.lines)

    def token(self, client: str, audience: str = AUDIENCE) -> str:
        """An access token by the client credentials grant."""
        form = {"grant_type": "client_credentials", "resource": audience}
        answer = httpx.post(f"{self.issuer}/token", data=form, auth=(client, SECRET), timeout=60)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line.rstrip("\n"))


@contextmanager
def identity_provider(
    redirect_uri: str = "http://127.0.0.1:9/login/callback", logout_uri: str = "http://127.0.0.1:9/"
) -> Iterator[IdentityProvider]:
    """Run an identity provider while the block lasts."""
    _install()
    provider = IdentityProvider(SigningKey("first"), redirect_uri, logout_uri)
    provider.start()
    try:
        yield provider
    finally:
        provider.stop()
