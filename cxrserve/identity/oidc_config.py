"""The configuration of single sign-on: a TOML file that names the identity provider and maps its roles.

    issuer = "https://id.hospital.example/realms/imaging"
    audience = "cxrserve"
    roles_claim = "realm_access.roles"

    [roles]
    radiologist = ["predict", "read"]
    pacs-admin = ["admin"]

    [login]
    client_id = "cxrserve-viewer"
    client_secret_file = "/etc/cxrserve/client-secret"
    redirect_uri = "https://cxr.hospital.example/login/callback"

`[login]` is for the viewer; without it, only access tokens are accepted.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError

from cxrserve.errors import ConfigurationError
from cxrserve.identity.clients import Scope
from cxrserve.loopback import is_loopback
from cxrserve.schema import Strict

CALLBACK_PATH: Final = "/login/callback"
_MAX_FILE_BYTES: Final = 2**20
# Only signatures with a public key. RFC 8725, 3.1: the verifier decides which, never the token.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]


def _protected(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return url
    raise ValueError("the URL must begin with https://; http:// is for addresses of this machine alone")


def _callback(url: str) -> str:
    if urlsplit(url).path != CALLBACK_PATH or urlsplit(url).query:
        raise ValueError(f"the path must be {CALLBACK_PATH}")
    return _protected(url)


class LoginConfig(Strict):
    """The viewer as a client of the identity provider: authorization code with PKCE."""

    client_id: str = Field(min_length=1)
    client_secret_file: Path | None = Field(None, description="Without it, the client is public.")
    redirect_uri: Annotated[str, AfterValidator(_callback)]
    post_logout_redirect_uri: str = Field("", description="Where the provider sends users who signed out.")
    scopes: tuple[str, ...] = Field(("openid", "profile"), description="Requested from the provider.")
    session_s: float = Field(28_800.0, gt=0, description="Maximum time of a session.")
    idle_s: float = Field(1800.0, gt=0, description="A session without requests for this long ends.")


class OidcConfig(Strict):
    """The identity provider, and what its tokens allow."""

    issuer: Annotated[str, AfterValidator(_protected)]
    audience: str = Field(min_length=1, description="`aud` of the access tokens for this service.")
    algorithms: tuple[Algorithm, ...] = Field(("RS256", "PS256", "ES256"), min_length=1)
    token_types: tuple[Literal["at+jwt", "JWT"], ...] = Field(
        ("at+jwt",),
        min_length=1,
        description="`typ` of access tokens; JWT is for providers that do not follow RFC 9068.",
    )
    roles_claim: str = Field("roles", min_length=1, description="Claim with the roles; a.b is b within a.")
    user_claim: str = Field("sub", min_length=1, description="Claim with the name for the audit trail.")
    roles: dict[str, tuple[Scope, ...]] = Field(min_length=1, description="The scopes of each role.")
    ca_file: Path | None = Field(None, description="Authorities that sign the provider's certificate.")
    leeway_s: float = Field(10.0, ge=0, le=300, description="Accepted difference of the clocks.")
    keys_max_age_s: float = Field(3600.0, gt=0, description="Keys are read again after this time.")
    keys_min_refetch_s: float = Field(
        30.0, gt=0, description="Minimum time between two requests for the keys."
    )
    login: LoginConfig | None = None


def load_oidc(path: Path) -> OidcConfig:
    """The configuration in the file `path`.

    Raises:
        ConfigurationError: the file cannot be read, or is wrong.
    """
    name = f"{path} (CXRSERVE_OIDC)"
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{name} is larger than {_MAX_FILE_BYTES} bytes.")
        return OidcConfig.model_validate(tomllib.loads(content.decode()))
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{name}: {where}: {first['msg']}.") from None
    except ValueError as error:
        raise ConfigurationError(f"{name} is not TOML: {type(error).__name__}.") from None
