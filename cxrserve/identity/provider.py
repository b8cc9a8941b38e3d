"""The identity provider's endpoints and signing keys, fetched over HTTP and cached.

The keys are fetched when a token needs them: the first time, when they are older than `keys_max_age_s`, and
when a token names a key that is unknown, because the provider may have changed its keys. Between two fetches
at least `keys_min_refetch_s` pass, whatever tokens arrive.
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import jwt

from cxrserve.errors import ConfigurationError, IdentityProviderUnavailable
from cxrserve.identity.oidc_config import OidcConfig
from cxrserve.loopback import is_loopback

_log: Final = logging.getLogger("cxrserve.identity")
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 2**20
# While the provider is unreachable, the last keys are used for this long.
_MAX_STALE_S: Final = 86_400.0
_KEY_TYPES: Final[Mapping[str, str]] = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class _Key(NamedTuple):
    """A public key, its type (`kty`), and the algorithm that it is meant for; None: any of its type."""

    public: Any
    kind: str
    algorithm: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """The provider's metadata and keys of one moment; `fetched_s` is of the monotonic clock."""

    endpoints: Mapping[str, Any]
    keys: Mapping[str, _Key]
    fetched_s: float


class Provider:
    """One identity provider. Thread-safe; the methods may wait for the network.

    Raises on construction:
        ConfigurationError: the file of its authorities cannot be used.
    """

    def __init__(self, config: OidcConfig) -> None:
        self._config: Final = config
        self._lock: Final = threading.Lock()
        self._state: _State | None = None
        self._tried_s = -float("inf")
        try:
            self._tls: Final = ssl.create_default_context(cafile=config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{config.ca_file} (ca_file) cannot be used: {error.strerror}."
            ) from None
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    def key(self, key_id: str, algorithm: str) -> Any:
        """The public key with this id; None if the provider has no such key for this algorithm.

        Raises:
            IdentityProviderUnavailable: the provider could not be reached for too long.
        """
        if (key := self._cached_key(key_id, algorithm)) is not None:
            return key
        with self._lock:
            if (key := self._cached_key(key_id, algorithm)) is not None:
                return key
            self._refetch()
            return _fitting(self._current().keys.get(key_id), algorithm)

    def _cached_key(self, key_id: str, algorithm: str) -> Any:
        state = self._state
        if state is None or time.monotonic() - state.fetched_s > self._config.keys_max_age_s:
            return None
        return _fitting(state.keys.get(key_id), algorithm)

    def endpoint(self, name: str) -> str:
        """One of the provider's endpoints, from its discovery document; "" if it has none.

        Raises:
            IdentityProviderUnavailable: the provider could not be reached.
        """
        with self._lock:
            if self._state is None:
                self._refetch()
            url = self._current().endpoints.get(name, "")
        return url if isinstance(url, str) and _is_protected(url) else ""

    def post(self, url: str, form: Mapping[str, str], auth: tuple[str, str] | None) -> dict[str, Any]:
        """The JSON answer to a form.

        Raises:
            IdentityProviderUnavailable: there is no answer, or not in JSON.
        """
        try:
            return self._json("POST", url, data=form, auth=auth)
        except (httpx.HTTPError, ValueError) as error:
            raise _unavailable(type(error).__name__) from None

    def _current(self) -> _State:
        state = self._state
        if state is None or time.monotonic() - state.fetched_s > self._config.keys_max_age_s + _MAX_STALE_S:
            raise _unavailable("no keys")
        return state

    def _refetch(self) -> None:
        """Fetch endpoints and keys, if the last attempt was long enough ago; keep the old ones on failure."""
        now_s = time.monotonic()
        if now_s - self._tried_s < self._config.keys_min_refetch_s:
            return
        self._tried_s = now_s
        try:
            base = self._config.issuer.rstrip("/")
            document = self._json("GET", f"{base}/.well-known/openid-configuration")
            if document.get("issuer") != self._config.issuer:
                raise ValueError("another issuer")
            keys = self._json("GET", _url(document, "jwks_uri")).get("keys")
            self._state = _State(endpoints=document, keys=_by_id(keys), fetched_s=now_s)
        except (httpx.HTTPError, ValueError) as error:
            _log.warning(
                "the identity provider %s gave no keys: %s. Check `issuer` and `ca_file` in CXRSERVE_OIDC.",
                self._config.issuer, error if type(error) is ValueError else type(error).__name__,
            )  # fmt: skip

    def _json(self, method: str, url: str, **arguments: Any) -> dict[str, Any]:
        """The JSON object in an answer. Redirects and large answers are errors."""
        started_s, body = time.monotonic(), bytearray()
        arguments["auth"] = arguments.get("auth") or httpx.USE_CLIENT_DEFAULT
        # Without redirects and without proxies of the environment: only the issuer is asked.
        with (
            httpx.Client(verify=self._tls, timeout=_TIMEOUT_S, trust_env=False) as client,
            client.stream(method, url, headers={"Accept": "application/json"}, **arguments) as answer,
        ):
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _MAX_BYTES or time.monotonic() - started_s > _TIMEOUT_S:
                    raise httpx.ReadError("the answer is too large or too slow")
        if answer.status_code >= 500 or answer.is_redirect or (method == "GET" and answer.is_error):
            raise httpx.HTTPStatusError("no answer", request=answer.request, response=answer)
        content = json.loads(body)
        if not isinstance(content, dict):
            raise ValueError("the answer is no JSON object")
        return content


def _by_id(keys: Any) -> dict[str, _Key]:
    """The keys of a JWK set by `kid`; those that this library cannot use are left out."""
    by_id: dict[str, _Key] = {}
    for entry in keys if isinstance(keys, list) else ():
        try:
            key = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, TypeError, ValueError, AttributeError):
            continue
        if isinstance(key.key_id, str) and key.key_type and key.public_key_use in (None, "sig"):
            by_id[key.key_id] = _Key(key.key, key.key_type, entry.get("alg"))
    if not by_id:
        raise ValueError("the provider has no key that can be used")
    return by_id


def _fitting(key: _Key | None, algorithm: str) -> Any:
    """The public key itself, if it is one for this algorithm."""
    if key is None or key.kind != _KEY_TYPES.get(algorithm[:2]) or key.algorithm not in (None, algorithm):
        return None
    return key.public


def _url(document: Mapping[str, Any], name: str) -> str:
    url = document.get(name)
    if not isinstance(url, str) or not _is_protected(url):
        raise ValueError(f"{name} is no https:// URL")
    return url


def _is_protected(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _unavailable(reason: str) -> IdentityProviderUnavailable:
    return IdentityProviderUnavailable(
        f"the identity provider cannot be reached ({reason}). Try again, or ask the administrator of the "
        "service."
    )
