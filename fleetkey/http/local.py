"""Determines whether a request comes from this machine, and not through a proxy."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_for_reserve", "is_local", "is_loopback"]

RESERVED_PATHS = frozenset({b"/health", b"/health/live", b"/health/ready", b"/metrics"})
"""The only paths for loopback connections accepted above a bound."""

SIGNS_OF_A_PROXY = frozenset({"forwarded", "via", "x-real-ip"})


def is_for_reserve(url: bytes, headers: Iterable[tuple[bytes, bytes]], client: str) -> bool:
    """Return whether a request may use a reserved place: monitoring from this machine.

    Args:
        url: the request's target.
        headers: names in lower case, and values.
        client: its address.
    """
    decoded = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    return url.partition(b"?")[0] in RESERVED_PATHS and is_local(client, decoded)


def is_local(client: str, headers: Iterable[tuple[str, str]]) -> bool:
    """Return whether a client on loopback used a loopback host name, without headers added by a proxy.

    Args:
        client: its address.
        headers: names in lower case, and values.
    """
    hosts = []
    for name, value in headers:
        if name in SIGNS_OF_A_PROXY or name.startswith("x-forwarded-"):
            return False
        if name == "host":
            hosts.append(value)
    # A proxy that adds no header usually still passes on the public host name.
    return is_loopback(client) and bool(hosts) and all(is_loopback(_without_port(host)) for host in hosts)


def is_loopback(host: str) -> bool:
    """Return whether a name or address is loopback, including IPv4-mapped IPv6 addresses."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _without_port(host: str) -> str:
    host = host.rpartition("@")[2]
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
