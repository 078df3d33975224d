"""The addresses and networks that a key may connect from."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_NETWORKS", "AllowedNetworkError", "AllowedNetworks", "parse_networks"]

MAX_NETWORKS = 100
"""Addresses and networks per key; every login is checked against all of them."""


class AllowedNetworkError(ValueError):
    """A text is neither an address nor a network; the message says which text."""


class AllowedNetworks:
    """A list of addresses and networks. An empty list allows every address; no list allows one that can't be parsed."""

    __slots__ = ("_networks", "_texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the stored form that `parse_networks` returned.

        Raises:
            ValueError: a text can't be parsed.
        """
        self._texts = tuple(texts)
        self._networks = tuple(ipaddress.ip_network(text) for text in self._texts)

    def admits(self, address: str) -> bool:
        """Return whether an address may connect. An IPv4-mapped IPv6 address counts as IPv4 (RFC 4291, 2.5.5.2)."""
        if not self._networks:
            return True
        try:
            parsed: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)

    def __repr__(self) -> str:
        """Return the texts."""
        return f"AllowedNetworks({self._texts!r})"


def parse_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return addresses and networks in canonical form, without duplicates.

    Raises:
        AllowedNetworkError: a text is neither an address nor a network, or has bits set after its prefix; or there are
            more than `MAX_NETWORKS`.
    """
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[str(ipaddress.ip_network(text.strip()))] = None
        except ValueError:
            raise AllowedNetworkError(_reason(text)) from None
    if len(found) > MAX_NETWORKS:
        msg = f"{len(found)} addresses and networks; at most {MAX_NETWORKS} are allowed"
        raise AllowedNetworkError(msg)
    return tuple(found)


def _reason(text: str) -> str:
    try:
        meant = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return f"{text[:64]!r} is neither an IP address nor a network such as 10.0.0.0/8"
    return f"{text[:64]!r} has bits set after its prefix; did you mean {meant}?"
