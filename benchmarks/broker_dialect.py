"""How the clients of a broker speak to it: with which version of MQTT, over which transport."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["DEFAULT_DIALECT", "Dialect", "Transport", "Version"]


class Version(Enum):
    """A version of MQTT, by its protocol level (3.1.2.2)."""

    V3_1_1 = 4
    V5 = 5

    def __str__(self) -> str:
        """Return it as figures are named."""
        return "MQTT 3.1.1" if self is Version.V3_1_1 else "MQTT 5"


class Transport(Enum):
    """What carries MQTT, by its name in the load generator."""

    TCP = "tcp"
    TLS = "tls"
    WEBSOCKET = "ws"

    def __str__(self) -> str:
        """Return it as figures are named."""
        return {"tcp": "TCP", "tls": "TLS", "ws": "WebSocket"}[self.value]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A version over a transport."""

    version: Version = Version.V3_1_1
    transport: Transport = Transport.TCP

    @property
    def arguments(self) -> tuple[str, str]:
        """What tells the load generator."""
        return str(self.version.value), self.transport.value

    def __str__(self) -> str:
        """Return it as figures are named."""
        return str(self.version) if self.transport is Transport.TCP else f"{self.version} over {self.transport}"


DEFAULT_DIALECT = Dialect()
