"""A small MQTT client for the demo that records what it receives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DemoClient"]

REFUSED_SUBSCRIPTION = 0x80
WAIT_SECONDS = 5.0
POLL_SECONDS = 0.01


class DemoClient:
    """One connection, authenticated with a key and its secret; it doesn't reconnect."""

    def __init__(self, *, client_id: str, key: str, secret: str, host: str, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.return_code: int | None = None
        self.disconnected_at: float | None = None
        self._granted: dict[int, int] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
        self._client.username_pw_set(key, secret)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(host, port)
        self._client.loop_start()
        self.wait_for(lambda: self.return_code is not None)

    @property
    def is_connected(self) -> bool:
        """Whether the broker accepted the connection and it is still open."""
        return self.return_code == 0 and self.disconnected_at is None

    def subscribe(self, topic_filter: str) -> bool:
        """Subscribe, and return whether the broker granted it."""
        error, message_id = self._client.subscribe(topic_filter, qos=1)
        if error is not MQTTErrorCode.MQTT_ERR_SUCCESS or message_id is None:
            return False
        self.wait_for(lambda: message_id in self._granted)
        return self._granted.get(message_id, REFUSED_SUBSCRIPTION) != REFUSED_SUBSCRIPTION

    def publish(self, topic: str, payload: str) -> None:
        """Publish at QoS 1 and wait for the acknowledgement."""
        message = self._client.publish(topic, payload, qos=1)
        message.wait_for_publish(WAIT_SECONDS)

    def wait_for(self, condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
        """Wait until a condition holds, or the time is up; return whether it holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self.return_code = int(code.value)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, _code: Any, _properties: Any) -> None:
        self.disconnected_at = time.monotonic()

    def _on_message(self, _client: Client, _data: Any, message: Any) -> None:
        self.messages.append((message.topic, message.payload))

    def _on_subscribe(self, _client: Client, _data: Any, message_id: int, codes: Any, _properties: Any) -> None:
        self._granted[message_id] = codes[0].value
