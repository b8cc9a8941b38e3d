"""Validation of the identity provider's tokens: access tokens (RFC 9068) and ID tokens (OpenID Connect Core).

The signature algorithm comes from the configuration and not from the token; issuer, audience, expiry and
type must fit exactly.
"""

from __future__ import annotations

from typing import Any, Final

import jwt

from cxrserve.errors import Unauthorized
from cxrserve.identity.clients import Client, Scope
from cxrserve.identity.oidc_config import OidcConfig
from cxrserve.identity.provider import Provider

_ACCESS_CLAIMS: Final = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]  # RFC 9068, 2.2
_PLAIN_ACCESS_CLAIMS: Final = ["iss", "exp", "aud", "sub", "iat"]
_ID_CLAIMS: Final = ["iss", "exp", "aud", "sub", "iat", "nonce"]
_MAX_NAME: Final = 128
_REASONS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ExpiredSignatureError, "it has expired"),
    (jwt.ImmatureSignatureError, "it is not valid yet; compare the clocks"),
    (jwt.InvalidIssuerError, "it is from another issuer"),
    (jwt.InvalidAudienceError, "it is for another audience"),
    (jwt.MissingRequiredClaimError, "a claim is missing"),
    (jwt.InvalidSignatureError, "its signature is wrong"),
)


class TokenValidator:
    """Validates the tokens of one provider. Thread-safe; a token with a new key waits for the network."""

    def __init__(self, config: OidcConfig, provider: Provider) -> None:
        self._config: Final = config
        self._provider: Final = provider

    def access(self, token: str) -> Client:
        """The client that an access token names.

        Raises:
            Unauthorized: the token is not valid here.
            IdentityProviderUnavailable: its key is unknown, and the provider does not answer.
        """
        header = _header(token)
        kind = str(header.get("typ", "JWT")).removeprefix("application/")
        if kind.lower() not in {type_.lower() for type_ in self._config.token_types}:
            raise _refused("its type is not " + " or ".join(self._config.token_types))
        required = _ACCESS_CLAIMS if kind.lower() == "at+jwt" else _PLAIN_ACCESS_CLAIMS
        claims = self._claims(token, header, self._config.audience, required)
        if "nonce" in claims:
            raise _refused("it is an ID token")
        return self.client(claims)

    def identity(self, token: str, *, client_id: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token that answers this nonce (OpenID Connect Core, 3.1.3.7).

        Raises:
            Unauthorized: the token is not valid.
            IdentityProviderUnavailable: its key is unknown, and the provider does not answer.
        """
        claims = self._claims(token, _header(token), client_id, _ID_CLAIMS)
        if claims["nonce"] != nonce:
            raise _refused("it answers another request")
        if claims.get("azp", client_id) != client_id:
            raise _refused("it is for another client")
        return claims

    def client(self, claims: dict[str, Any]) -> Client:
        """The client that validated claims name, with the scopes of its roles.

        Raises:
            Unauthorized: the claim of the name is missing.
        """
        name = _claim(claims, self._config.user_claim)
        if not isinstance(name, str) or not name:
            raise _refused(f"the claim {self._config.user_claim} is missing")
        roles = _claim(claims, self._config.roles_claim)
        names = roles.split() if isinstance(roles, str) else roles if isinstance(roles, list) else ()
        scopes: set[Scope] = set()
        for role in names:
            if isinstance(role, str):
                scopes.update(self._config.roles.get(role, ()))
        return Client(name=name[:_MAX_NAME], scopes=frozenset(scopes))

    def _claims(
        self,
        token: str,
        header: dict[str, Any],
        audience: str,
        required: list[str],
    ) -> dict[str, Any]:
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._config.algorithms:
            raise _refused("its algorithm is not accepted")
        if not isinstance(key_id, str):
            raise _refused("it names no key")
        if (key := self._provider.key(key_id, algorithm)) is None:
            raise _refused("its key is unknown")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=audience,
                issuer=self._config.issuer,
                leeway=self._config.leeway_s,
                options={"require": required, "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            reason = next((text for kind, text in _REASONS if isinstance(error, kind)), "it is damaged")
            raise _refused(reason) from None
        return claims


def _header(token: str) -> dict[str, Any]:
    try:
        return dict(jwt.get_unverified_header(token))
    except jwt.PyJWTError:
        raise _refused("it is no signed JWT") from None


def _claim(claims: dict[str, Any], path: str) -> Any:
    """A claim by its name, or by a path with dots."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _refused(reason: str) -> Unauthorized:
    return Unauthorized(f"the token is refused: {reason}. Get a new one from the identity provider.")
