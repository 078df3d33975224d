"""URLs to which Fleetkey posts: over TLS, or on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

__all__ = ["check_url"]


def check_url(value: str) -> str:
    """Return a URL if requests may be sent to it; empty means none.

    Raises:
        ValueError: it is not an HTTP URL, contains a password, or is unencrypted and leaves this machine.
    """
    if not value:
        return value
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.fragment:
        msg = "must be a URL such as https://fleet.example.com/fleetkey"
        raise ValueError(msg)
    if parts.username is not None or parts.password is not None:
        msg = "a password in a URL would appear in logs; requests are signed with the secret instead"
        raise ValueError(msg)
    if parts.scheme == "http" and not _is_loopback(host):
        msg = "http:// is only for this machine, since others could read and forge messages; use https://"
        raise ValueError(msg)
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
