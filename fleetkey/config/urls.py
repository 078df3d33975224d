"""Addresses to which Fleetkey posts: over TLS, or on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["check_url"]


def check_url(value: str) -> str:
    """Return the address of an API if requests may go there; empty is none.

    Raises:
        ValueError: it is no http address, has a password in it, or isn't encrypted and leaves this machine.
    """
    if not value:
        return value
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.fragment:
        msg = "an address such as https://fleet.example.com/fleetkey is needed"
        raise ValueError(msg)
    if parts.username is not None or parts.password is not None:
        msg = "an address with a password in it would show it in logs; the request is signed with the secret instead"
        raise ValueError(msg)
    if parts.scheme == "http" and not _is_loopback(host):
        msg = "http:// is for this machine only, since others could read and answer what is sent; use https://"
        raise ValueError(msg)
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
