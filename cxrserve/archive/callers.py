"""Callers that may send: the peers in the rules, by AE title, address and certificate."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import Field, field_validator

from cxrserve.archive.tls_files import TlsFiles
from cxrserve.schema import Strict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerCertificate:
    """The names of a peer's certificate, in the form of `Caller.certificates`."""

    names: frozenset[str]


class ReportsTo(Strict):
    """Address of a peer for reports of Storage Commitment."""

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsFiles | None = Field(None, description="For a peer that listens by TLS; none: plain.")


class Caller(Strict):
    """A peer, or several that fit one pattern."""

    ae_title: str = Field(min_length=1, max_length=16, description="AE title; `*` and `?` stand for others.")
    addresses: tuple[Network, ...] = Field((), description="Addresses or networks; none: from anywhere.")
    certificates: tuple[str, ...] = Field(
        (),
        description="Its certificate by TLS: sha256:FINGERPRINT, cn:COMMON-NAME or dns:NAME; one of these "
        "must fit. None: any certificate that the node accepts.",
    )
    reports_to: ReportsTo | None = Field(
        None, description="Where its Storage Commitment reports go; none: commitment is refused."
    )

    @field_validator("certificates")
    @classmethod
    def _have_a_form(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_normalised, values))

    def is_it(self, ae_title: str, address: str, certificate: PeerCertificate | None = None) -> bool:
        """True where a peer with this title may call from this address, with this certificate."""
        if not fnmatchcase(ae_title, self.ae_title):
            return False
        if self.certificates and (certificate is None or certificate.names.isdisjoint(self.certificates)):
            return False
        peer_address = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(peer_address, ipaddress.IPv6Address) and peer_address.ipv4_mapped:
            peer_address = peer_address.ipv4_mapped
        return not self.addresses or any(peer_address in network for network in self.addresses)


def _normalised(name: str) -> str:
    """A name of a certificate as `PeerCertificate` has it."""
    kind, _, value = name.partition(":")
    if kind == "sha256":
        value = value.replace(":", "").lower()
        if re.fullmatch("[0-9a-f]{64}", value):
            return f"sha256:{value}"
    elif kind == "cn" and value:
        return name
    elif kind == "dns" and value:
        return name.lower()
    raise ValueError(f"{name!r} is neither sha256: with 64 hexadecimal digits, nor cn:NAME, nor dns:NAME")


def caller_of(
    callers: tuple[Caller, ...], ae_title: str, address: str, certificate: PeerCertificate | None = None
) -> Caller | None:
    """The first of `callers` that this peer is; None where it is none of them."""
    return next((caller for caller in callers if caller.is_it(ae_title, address, certificate)), None)
