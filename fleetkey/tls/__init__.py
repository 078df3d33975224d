"""TLS for the listeners: bounded from the moment a connection is accepted."""

from fleetkey.tls.transport import TlsConnections, TlsTransport

__all__ = ["TlsConnections", "TlsTransport"]
