"""Limits of open connections: in all, and for one address, so that no single client takes all of them.

Over a limit the connection that has been idle longest is closed, and the new one is accepted. Only if none
is idle is the new one refused; probes (/healthz, /readyz) are answered even then.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final, Protocol

from cxrserve.errors import CxrserveError, Overloaded

# Far below the usual limit of 1,024 open files.
MAX_CONNECTIONS: Final = 512
# Connections beyond the limit that are accepted for probes alone.
_EXTRA_FOR_PROBES: Final = 32
PROBES: Final = frozenset({b"/healthz", b"/readyz"})


class Peer(Protocol):
    """One open connection."""

    @property
    def address(self) -> str:
        """The client's IP address."""

    @property
    def idle(self) -> bool:
        """True while no request is being received or answered."""

    def end(self) -> None:
        """Close the connection."""


class ConnectionLimits:
    """The open connections of one server. Used on its event loop alone.

    Args:
        max_per_address: connections of one address.
        unlimited: addresses or networks without that limit: the named proxies, whose connections are those
            of many clients.
    """

    def __init__(self, *, max_per_address: int, unlimited: Collection[str] = ()) -> None:
        self._max_per_address: Final = max_per_address
        self._unlimited: Final = [ipaddress.ip_network(network, strict=False) for network in unlimited]
        self._open: Final[dict[Peer, None]] = {}  # in order of their last use

    def add(self, peer: Peer) -> CxrserveError | None:
        """Add a connection. Returns the error that its requests are refused with, unless they are probes."""
        error = None
        same = [connection for connection in self._open if connection.address == peer.address]
        if len(same) >= self._max_per_address and not self._is_unlimited(peer.address):
            error = self._make_room(same, f"{len(same)} connections from this address are open")
        if error is None and len(self._open) >= MAX_CONNECTIONS:
            error = self._make_room([*self._open], f"{MAX_CONNECTIONS} connections are open")
        self._open[peer] = None
        return error

    def full(self) -> bool:
        """True if not even a probe can be answered."""
        return len(self._open) > MAX_CONNECTIONS + _EXTRA_FOR_PROBES

    def used(self, peer: Peer) -> None:
        """Note that a request of this connection begins or ends."""
        if peer in self._open:
            del self._open[peer]
            self._open[peer] = None

    def remove(self, peer: Peer) -> None:
        """Remove a closed connection. Idempotent."""
        self._open.pop(peer, None)

    def _is_unlimited(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._unlimited)

    def _make_room(self, peers: list[Peer], what: str) -> CxrserveError | None:
        """Close the connection that has been idle longest; without one, return the error."""
        for peer in peers:
            if peer.idle:
                self.remove(peer)
                peer.end()
                return None
        return Overloaded(f"{what}, the maximum, and none is idle. Try again later.")


def plain_address(host: str) -> str:
    """An IP address in its usual form: IPv4 also if it came in IPv6; any other text unchanged."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
