"""Why a TLS handshake failed, told from the client's first bytes and from the alert that it sent."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from fleetkey.registry import RefusalReason
from fleetkey.tls.first_bytes import Spoken, spoken
from fleetkey.tls.records import NotTlsError, TlsBoundError

if TYPE_CHECKING:
    from fleetkey.tls.stream import TlsStream

__all__ = ["LEFT", "failure_of"]

LEFT = "client_left"
"""The detail of a handshake that the client ended without an alert."""
ALERTS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "CERTIFICATE_REVOKED")
"""Alerts about the server's certificate (RFC 8446, 6.2), as OpenSSL calls them."""
FOREIGN: dict[Spoken | None, RefusalReason] = {
    Spoken.MQTT: RefusalReason.MQTT_ON_TLS_PORT,
    Spoken.HTTP: RefusalReason.HTTP_ON_TLS_PORT,
}


def failure_of(error: NotTlsError | ssl.SSLError, stream: TlsStream) -> tuple[RefusalReason, str]:
    """Return why a handshake failed, and a detail: the bound, or the library's word."""
    if isinstance(error, TlsBoundError):
        return RefusalReason.BOUND_REACHED, error.bound
    if isinstance(error, NotTlsError):
        if stream.ssl_object is not None:
            return RefusalReason.TLS_FAILED, str(error)
        return FOREIGN.get(spoken(stream.incoming), RefusalReason.NOT_TLS), ""
    word = error.reason or ""
    is_about_certificate = "ALERT" in word and word.endswith(ALERTS)
    return (RefusalReason.CERTIFICATE_REFUSED if is_about_certificate else RefusalReason.TLS_FAILED), word.lower()
