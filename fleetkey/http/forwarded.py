"""The client's address behind proxies."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    App = Callable[[Any, Any, Any], Awaitable[None]]

__all__ = ["ForwardedAddress", "TrustedProxies"]

MAX_HOPS = 20
"""How many addresses in `X-Forwarded-For` are examined, from the last one."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is trusted.

    Args:
        networks: their addresses and networks.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    def trust(self, address: str) -> bool:
        """Return whether an address, as a socket reports it, is a trusted proxy."""
        if not self._networks:
            return False
        parsed = _address(address)
        return parsed is not None and self.trust_parsed(parsed)

    def trust_parsed(self, address: IpAddress) -> bool:
        """Return whether a parsed address is a trusted proxy."""
        return any(address in network for network in self._networks)


class ForwardedAddress:
    """ASGI middleware that replaces the peer's address with the client's.

    The client's address is the peer's, unless the peer is a trusted proxy. Then it is the address that the proxy
    reports, and so on from the right of `X-Forwarded-For`, as long as the reporting proxy is trusted and the value is
    an address. An IPv4-mapped IPv6 address counts as IPv4.

    Args:
        app: the application.
        trusted: addresses and networks of proxies.
    """

    def __init__(self, app: App, trusted: Sequence[str]) -> None:
        self._app = app
        self._trusted = TrustedProxies(trusted)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""
        client = scope.get("client")
        if scope["type"] == "http" and client is not None:
            peer = _address(client[0])
            if peer is not None:
                scope["client"] = (str(self._origin(peer, scope["headers"])), client[1])
        await self._app(scope, receive, send)

    def _origin(self, peer: IpAddress, headers: Iterable[tuple[bytes, bytes]]) -> IpAddress:
        if not self._trusted.trust_parsed(peer):
            return peer
        said = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        found = peer
        for text in reversed(said.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            hop = _address(text.strip())
            if hop is None:
                break
            found = hop
            if not self._trusted.trust_parsed(found):
                break
        return found


def _address(text: str) -> IpAddress | None:
    """Parse an address as proxies write it, optionally with a port, without a zone; None if it isn't one."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.ipv4_mapped or parsed
    return parsed
