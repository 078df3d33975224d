"""TLS for the listeners: bounded from the moment a connection is accepted."""

from fleetkey.tls.connections import TlsConnections
from fleetkey.tls.first_bytes import Spoken, spoken
from fleetkey.tls.handshakes import Handshake, Handshakes
from fleetkey.tls.listener import TlsListener, bind_sockets
from fleetkey.tls.transport import TlsTransport

__all__ = [
    "Handshake",
    "Handshakes",
    "Spoken",
    "TlsConnections",
    "TlsListener",
    "TlsTransport",
    "bind_sockets",
    "spoken",
]
