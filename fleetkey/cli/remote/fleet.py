"""All services of a remote server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleetkey.cli.remote.audit import RemoteAudit
from fleetkey.cli.remote.devices import RemoteDevices
from fleetkey.cli.remote.explain import RemoteExplain
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
    """The remote counterpart of `Management`. The audit log records the token's name, whatever `actor` is."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client
        self.devices = RemoteDevices(client)
        self.keys = RemoteKeys(client)
        self.serials = RemoteSerials(client)
        self.audit = RemoteAudit(client)
        self.explain = RemoteExplain(client)
        self.tokens = RemoteTokens(client)
        self.webhooks = RemoteWebhooks(client)

    @staticmethod
    def now() -> datetime:
        """Return the local time; the server's isn't known."""
        return datetime.now(UTC)

    def mqtt_endpoint(self) -> MqttEndpoint:
        """Return the address of the server's broker."""
        mqtt = self._client.ask("GET", "", AboutAnswer).mqtt
        return MqttEndpoint(host=mqtt.host or self._client.host, port=mqtt.port, is_tls=mqtt.tls)
