"""Addresses to listen on: `host:port`, `[v6]:port` or `:port`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

__all__ = ["Address", "AddressError", "parse_address"]

MAX_PORT = 65_535
MAX_PORT_DIGITS = 5


class AddressError(ValueError):
    """A string is not an address to listen on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address to listen on; port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` counts as reachable."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether it listens on every interface, so that it names no host for clients to use."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def __str__(self) -> str:
        """Return `host:port`, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse `host:port`, `[v6]:port` or `:port` (every interface).

    Raises:
        AddressError: the host or port is missing or invalid.
    """
    host, separator, port_text = text.strip().rpartition(":")
    if not separator or not (port_text.isascii() and port_text.isdigit()) or len(port_text) > MAX_PORT_DIGITS:
        msg = f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:8080"
        raise AddressError(msg)
    port = int(port_text)
    if port > MAX_PORT:
        msg = f"port {port} in {text!r} is greater than {MAX_PORT}"
        raise AddressError(msg)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            msg = f"the brackets in {text!r} do not contain an IPv6 address"
            raise AddressError(msg)
    elif ":" in host:
        msg = f"write the IPv6 address in {text!r} in brackets, such as [::1]:8080"
        raise AddressError(msg)
    if any(character.isspace() for character in host):
        msg = f"the host in {text!r} contains whitespace"
        raise AddressError(msg)
    return Address(host=host or "0.0.0.0", port=port)  # noqa: S104 - what `:port` means
