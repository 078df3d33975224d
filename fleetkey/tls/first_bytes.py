"""Which protocol a client speaks, by its first bytes: so that the wrong port is told from a broken client."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Spoken", "spoken"]

HANDSHAKE = b"\x16\x03"
"""A TLS record with a handshake message (RFC 8446, 5.1)."""
CONNECT = 0x10
METHODS = (b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PRI ")
FEW = 2
"""Bytes that are needed to tell."""


class Spoken(StrEnum):
    """A protocol that a client speaks."""

    TLS = "tls"
    MQTT = "mqtt"
    HTTP = "http"


def spoken(first: bytes | bytearray) -> Spoken | None:
    """Return the protocol that begins with these bytes, of which a few are enough; None: none that we know."""
    if len(first) < FEW:
        return None
    if first.startswith(HANDSHAKE):
        return Spoken.TLS
    if first[0] == CONNECT:
        return Spoken.MQTT
    if any(method.startswith(first[: len(method)]) for method in METHODS):
        return Spoken.HTTP
    return None
