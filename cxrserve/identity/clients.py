"""Named clients with scopes, from a TOML file of hashed tokens and from the setting `token`.

The file names each client in a table:

    [orthanc]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    scopes = ["store"]

Tokens are long random strings, so a plain SHA-256 is enough: there is nothing to guess. A command that makes
one: `openssl rand -hex 32`; its hash: `printf %s TOKEN | sha256sum`.
"""

from __future__ import annotations

import hmac
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, Self, get_args

from pydantic import Field, TypeAdapter, ValidationError

from cxrserve.errors import ConfigurationError
from cxrserve.schema import Strict
from cxrserve.settings import Settings

Scope = Literal["predict", "read", "label", "store", "pull", "quarantine", "metrics", "admin"]
SCOPES: Final[frozenset[Scope]] = frozenset(get_args(Scope))
_MAX_FILE_BYTES: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """A client that may use the service.

    Attributes:
        name: its name in the audit trail.
        scopes: the kinds of requests that it may make; `admin` includes all.
    """

    name: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope | None) -> bool:
        """True if the client may make requests that need `scope`; every client may, if that is None."""
        return scope is None or scope in self.scopes or "admin" in self.scopes


class _Entry(Strict):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: list[Scope] = Field(min_length=1)


_FILE: Final = TypeAdapter(dict[str, _Entry])


class Clients:
    """All clients of the service, by the hashes of their tokens. Empty: the service asks for no token."""

    def __init__(self, by_hash: dict[str, Client]) -> None:
        self._by_hash: Final = by_hash

    def __bool__(self) -> bool:
        return bool(self._by_hash)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The clients that the settings name.

        Raises:
            ConfigurationError: the file of clients cannot be used.
        """
        by_hash = {} if settings.clients is None else _read(settings.clients)
        if token := settings.token.get_secret_value():
            by_hash[_hash(token)] = Client(name="token", scopes=SCOPES)
        return cls(by_hash)

    def find(self, token: str) -> Client | None:
        """The client with this token; takes the same time for every wrong token."""
        digest, match = _hash(token), None
        for known, client in self._by_hash.items():
            if hmac.compare_digest(known, digest):
                match = client
        return match


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, Client]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} (CXRSERVE_CLIENTS) is larger than {_MAX_FILE_BYTES} bytes.")
        entries = _FILE.validate_python(tomllib.loads(content.decode()))
    except OSError as error:
        raise ConfigurationError(f"{path} (CXRSERVE_CLIENTS) cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{path} (CXRSERVE_CLIENTS): {where}: {first['msg']}.") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} (CXRSERVE_CLIENTS) is not TOML: {type(error).__name__}.") from None
    if not entries:
        raise ConfigurationError(f"{path} (CXRSERVE_CLIENTS) names no client.")
    by_hash: dict[str, Client] = {}
    for name, entry in entries.items():
        if entry.sha256 in by_hash:
            raise ConfigurationError(f"{path} (CXRSERVE_CLIENTS): two clients have the same token.")
        by_hash[entry.sha256] = Client(name=name, scopes=frozenset(entry.scopes))
    return by_hash
