"""From where a key may connect: addresses and networks."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_SOURCES", "AllowedNetworkError", "AllowedNetworks", "parse_networks"]

MAX_SOURCES = 100
"""Addresses and networks of one key; each login is held against all of them."""


class AllowedNetworkError(ValueError):
    """A text that is neither an address nor a network; the message says which."""


class AllowedNetworks:
    """Addresses and networks; an empty list lets everyone in, and what isn't understood nobody."""

    __slots__ = ("_networks", "_texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Take stored texts, which `parse_networks` wrote.

        Raises:
            ValueError: one of them can't be read.
        """
        self._texts = tuple(texts)
        self._networks = tuple(ipaddress.ip_network(text) for text in self._texts)

    def admits(self, address: str) -> bool:
        """Whether an address is in the list. An IPv4 address in IPv6 form counts as IPv4 (RFC 4291, 2.5.5.2)."""
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
    """Return addresses and networks in one spelling, each once.

    Raises:
        AllowedNetworkError: one of them is neither, has bits set behind its prefix, or there are over `MAX_SOURCES`.
    """
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[str(ipaddress.ip_network(text.strip()))] = None
        except ValueError:
            raise AllowedNetworkError(_reason(text)) from None
    if len(found) > MAX_SOURCES:
        msg = f"{len(found)} addresses and networks; at most {MAX_SOURCES} are allowed"
        raise AllowedNetworkError(msg)
    return tuple(found)


def _reason(text: str) -> str:
    try:
        meant = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return f"{text[:64]!r} is neither an IP address nor a network such as 10.0.0.0/8"
    return f"{text[:64]!r} has bits set behind its prefix; did you mean {meant}?"
