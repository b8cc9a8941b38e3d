"""The viewer's sign-in: authorization code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core 3.1)."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote_plus, urlencode

from cxrserve.errors import ConfigurationError, IdentityProviderUnavailable, LoginFailed, Unauthorized
from cxrserve.identity.clients import Client
from cxrserve.identity.oidc_config import LoginConfig

if TYPE_CHECKING:  # needs the extra [oidc]
    from cxrserve.identity.provider import Provider
    from cxrserve.identity.tokens import TokenValidator


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingLogin:
    """The secrets of one sign-in, which the browser keeps in a cookie until it comes back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Self:
        """Three random values of 256 bits."""
        return cls(**{name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")})

    def serialise(self) -> str:
        """The value of the cookie."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The opposite of `serialise`; None if the cookie has another form."""
        parts = text.split(".")
        if len(parts) != 3 or not all(40 <= len(part) <= 64 for part in parts):
            return None
        return cls(state=parts[0], nonce=parts[1], verifier=parts[2])


class CodeFlow:
    """Sends users to the identity provider, and takes them back. The methods wait for the network.

    Raises on construction:
        ConfigurationError: the file of the client's secret cannot be read.
    """

    def __init__(
        self, config: LoginConfig, issuer: str, provider: Provider, validator: TokenValidator
    ) -> None:
        self._config: Final = config
        self._issuer: Final = issuer
        self._provider: Final = provider
        self._validator: Final = validator
        self._secret: Final = _secret(config)

    def url(self, pending: PendingLogin) -> str:
        """The address at the provider where the user signs in.

        Raises:
            IdentityProviderUnavailable: its endpoints are not known.
        """
        digest = sha256(pending.verifier.encode()).digest()
        return _with_query(
            self._endpoint("authorization_endpoint"),
            response_type="code",
            client_id=self._config.client_id,
            redirect_uri=self._config.redirect_uri,
            scope=" ".join(self._config.scopes),
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=base64.urlsafe_b64encode(digest).decode().rstrip("="),
            code_challenge_method="S256",
        )

    def finish(self, pending: PendingLogin, *, state: str, code: str, issuer: str) -> Client:
        """The user who has signed in.

        Args:
            state, code, issuer: of the callback's query; the issuer is "" where the provider sends none.

        Raises:
            LoginFailed: the answer is for another browser, or the provider does not confirm it.
            IdentityProviderUnavailable: the provider did not answer.
        """
        if not secrets.compare_digest(state.encode(), pending.state.encode()):
            raise LoginFailed("the answer belongs to another sign-in. Sign in again.")
        if issuer and issuer != self._issuer:  # RFC 9207
            raise LoginFailed("the answer is from another identity provider. Sign in again.")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._config.redirect_uri,
            "code_verifier": pending.verifier,
        }
        auth = None
        if self._secret:  # client_secret_basic, each part form-encoded: RFC 6749, 2.3.1
            auth = quote_plus(self._config.client_id), quote_plus(self._secret)
        else:
            form["client_id"] = self._config.client_id
        answer = self._provider.post(self._endpoint("token_endpoint"), form, auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise LoginFailed("the identity provider did not confirm the sign-in. Sign in again.")
        try:
            claims = self._validator.identity(token, client_id=self._config.client_id, nonce=pending.nonce)
            return self._validator.client(claims)
        except LoginFailed:
            raise
        except Unauthorized as error:
            raise LoginFailed(error.detail) from None

    def logout_url(self) -> str:
        """The address at the provider where the user also signs out there; "" if it has none."""
        try:
            endpoint = self._provider.endpoint("end_session_endpoint")
        except IdentityProviderUnavailable:
            return ""
        if not endpoint:
            return ""
        return _with_query(endpoint, client_id=self._config.client_id)

    def _endpoint(self, name: str) -> str:
        url = self._provider.endpoint(name)
        if not url:
            raise IdentityProviderUnavailable(f"the identity provider has no {name}. Check CXRSERVE_OIDC.")
        return url


def _secret(config: LoginConfig) -> str:
    path = config.client_secret_file
    if path is None:
        return ""
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} (client_secret_file) cannot be read: {type(error).__name__}."
        ) from None
    if not secret:
        raise ConfigurationError(f"{path} (client_secret_file) is empty.")
    return secret


def _with_query(url: str, **parameters: str) -> str:
    return url + ("&" if "?" in url else "?") + urlencode(parameters)
