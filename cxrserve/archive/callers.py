"""Who may send: the peers that the rules name, by AE title and address."""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field

from cxrserve.archive.tls_files import TlsFiles

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ReportsTo(BaseModel):
    """Where a peer listens, for the reports of Storage Commitment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    tls: TlsFiles | None = Field(None, description="For a peer that listens by TLS; none: plain.")


class Caller(BaseModel):
    """A peer, or several that fit one pattern."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ae_title: str = Field(min_length=1, max_length=16, description="AE title; `*` and `?` stand for others.")
    addresses: tuple[Network, ...] = Field((), description="Addresses or networks; none: from anywhere.")
    reports_to: ReportsTo | None = Field(
        None, description="Where its Storage Commitment reports go; none: commitment is refused."
    )

    def is_it(self, ae_title: str, address: str) -> bool:
        """True where a peer with this title may call from this address."""
        if not fnmatchcase(ae_title, self.ae_title):
            return False
        found = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return not self.addresses or any(found in network for network in self.addresses)


def caller_of(callers: tuple[Caller, ...], ae_title: str, address: str) -> Caller | None:
    """The first of `callers` that this peer is; None where it is none of them."""
    return next((each for each in callers if each.is_it(ae_title, address)), None)
