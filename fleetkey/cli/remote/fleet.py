"""All services of one fleet, remotely."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleetkey.cli.remote.audit import RemoteAudit
from fleetkey.cli.remote.devices import RemoteDevices
from fleetkey.cli.remote.keys import RemoteKeys
from fleetkey.cli.remote.serials import RemoteSerials
from fleetkey.cli.remote.tokens import RemoteTokens
from fleetkey.cli.remote.webhooks import RemoteWebhooks
from fleetkey.config import MqttEndpoint
from fleetkey.management.schemas import AboutAnswer

if TYPE_CHECKING:
    from fleetkey.cli.remote.client import RemoteClient

__all__ = ["RemoteFleet"]


class RemoteFleet:
    """What `Management` is on the server's machine. Who does something is decided by the token, not by `actor`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client
        self.devices = RemoteDevices(client)
        self.keys = RemoteKeys(client)
        self.serials = RemoteSerials(client)
        self.audit = RemoteAudit(client)
        self.tokens = RemoteTokens(client)
        self.webhooks = RemoteWebhooks(client)

    @staticmethod
    def now() -> datetime:
        """Return the time here; the server's isn't known."""
        return datetime.now(UTC)

    def mqtt_endpoint(self) -> MqttEndpoint:
        """Return where the server's broker is."""
        mqtt = self._client.ask("GET", "", AboutAnswer).mqtt
        return MqttEndpoint(host=mqtt.host or self._client.host, port=mqtt.port, is_tls=mqtt.tls)
