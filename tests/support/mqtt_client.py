"""A paho client that remembers what happened to it, and waits no longer than it must.

It is of the current version (`tests.support.versions`).
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.versions import LEVEL_5, current_level
from tests.support.waiting import WAIT_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from tests.support.packets import Will

__all__ = ["REFUSED", "Message", "MqttClient", "paho_properties"]

REFUSED = 0x80
# paho shows MQTT 3.1.1's return codes as MQTT 5's reason codes. Those that the broker sends in MQTT 5 mean the same.
RETURN_CODES = {0: 0, 132: 1, 133: 2, 136: 3, 137: 3, 159: 3, 134: 4, 135: 5}
FOREVER = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Message:
    """A message that came in."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: dict[str, Any] = field(default_factory=dict, compare=False)
    """Of MQTT 5, by paho's names."""


class MqttClient:
    """One connection; it doesn't reconnect by itself.

    As a context manager it connects, if it hasn't yet, and disconnects at the end.
    """

    def __init__(
        self,
        *,
        port: int,
        client_id: str,
        key: str | None,
        secret: str | None,
        clean: bool = True,
        will: Will | None = None,
        transport: Literal["tcp", "websockets"] = "tcp",
        ca_file: Path | None = None,
        keep_alive_seconds: int = 60,
    ) -> None:
        self.messages: list[Message] = []
        self.return_code: int | None = None
        self.is_session_present = False
        self.disconnected_at: float | None = None
        self.end_reason = 0
        """Why the broker ended the connection, in MQTT 5."""
        self.refusals: list[int] = []
        """The reason codes of refused messages, in MQTT 5."""
        self.level = current_level()
        self._port = port
        self._keep_alive_seconds = keep_alive_seconds
        self._granted: dict[int, list[int]] = {}
        self._unsubscribed: set[int] = set()
        self._ended = threading.Event()
        self._clean = clean
        self._will = will
        self._credentials = (client_id, key, secret)
        self._transport = transport
        self._ca_file = ca_file
        self._client = self._new_client()

    def __enter__(self) -> Self:
        """Connect, unless that was done."""
        return self.connect() if self.return_code is None else self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()

    def connect(self) -> Self:
        """Connect, and return when there was a CONNACK or the connection was closed."""
        self.return_code, self.disconnected_at = None, None
        self._ended.clear()
        self._client = self._new_client()
        self._client.connect("127.0.0.1", self._port, self._keep_alive_seconds, **self._session())
        self._client.loop_start()
        assert eventually(lambda: self.return_code is not None or self._ended.is_set()), "neither CONNACK nor end"
        if self.return_code != 0:
            self.close()
        return self

    @property
    def is_connected(self) -> bool:
        """Whether the broker let it in and it still is."""
        return self.return_code == 0 and self.disconnected_at is None

    def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        """Subscribe to all filters in one packet, and return the SUBACK's codes; each refusal is returned as 0x80."""
        options: Any = SubscribeOptions(qos) if self.level == LEVEL_5 else qos
        error, number = self._client.subscribe([(topic_filter, options) for topic_filter in filters])
        assert error is MQTTErrorCode.MQTT_ERR_SUCCESS
        assert number is not None
        assert eventually(lambda: number in self._granted), f"no SUBACK for {filters}"
        return self._granted[number]

    def unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe, and return after the UNSUBACK."""
        error, number = self._client.unsubscribe(topic_filter)
        assert error is MQTTErrorCode.MQTT_ERR_SUCCESS
        assert number is not None
        assert eventually(lambda: number in self._unsubscribed), f"no UNSUBACK for {topic_filter}"

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"x",
        *,
        qos: int = 1,
        retain: bool = False,
        properties: dict[str, Any] | None = None,
    ) -> bool:
        """Publish, and return whether it was sent and, above QoS 0, acknowledged; False if the connection ended.

        The properties are those of MQTT 5, by paho's names.
        """
        info = self._client.publish(topic, payload, qos, retain, paho_properties(PacketTypes.PUBLISH, properties))
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        assert eventually(lambda: info.is_published() or self._ended.is_set()), f"no acknowledgement for {topic}"
        return info.is_published()

    def send(self, topic: str, payload: bytes | str, *, qos: int = 1) -> None:
        """Publish without waiting."""
        assert self._client.publish(topic, payload, qos).rc is MQTTErrorCode.MQTT_ERR_SUCCESS

    def hears(self, topic: str, payload: bytes | str, seconds: float = WAIT_SECONDS) -> bool:
        """Wait for a message."""
        data = payload.encode() if isinstance(payload, str) else payload
        return eventually(lambda: (topic, data) in self.heard, seconds)

    @property
    def heard(self) -> list[tuple[str, bytes]]:
        """Topics and payloads that came in, in order."""
        return [(message.topic, message.payload) for message in list(self.messages)]

    def is_disconnected_within(self, seconds: float) -> bool:
        """Wait for the end of the connection."""
        return self._ended.wait(seconds)

    def drop(self) -> None:
        """End the connection without a DISCONNECT, so that the broker publishes the will."""
        connection: Any = self._client.socket()
        raw = getattr(connection, "_socket", connection)
        raw.shutdown(socket.SHUT_RDWR)
        self._ended.wait(WAIT_SECONDS)
        self._client.loop_stop()

    def close(self) -> None:
        """Disconnect; calling it again does nothing."""
        self._client.disconnect()
        self._client.loop_stop()
        # Otherwise the garbage collector decides when, and warns.
        self._client._reset_sockets()

    def _new_client(self) -> Client:
        client_id, key, secret = self._credentials
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if self.level == LEVEL_5 else self._clean,
            protocol=MQTTProtocolVersion(self.level),
            transport=self._transport,
            reconnect_on_failure=False,
        )
        if key is not None:
            client.username_pw_set(key, secret)
        if self._will is not None:
            assert isinstance(self._will.topic, str)
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)
        if self._ca_file is not None:
            client.tls_set(str(self._ca_file))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_publish = self._on_publish
        return client

    def _session(self) -> dict[str, Any]:
        """Return what a CONNECT of MQTT 5 says about the session: one that is kept never expires."""
        if self.level != LEVEL_5:
            return {}
        expiry = {} if self._clean else {"SessionExpiryInterval": FOREVER}
        return {"clean_start": self._clean, "properties": paho_properties(PacketTypes.CONNECT, expiry)}

    def _on_connect(
        self, _client: Client, _data: Any, flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self.is_session_present = flags.session_present
        self.return_code = RETURN_CODES[code.value]

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self.end_reason = code.value if self.level == LEVEL_5 else 0
        self.disconnected_at = time.monotonic()
        self._ended.set()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        # Among paho's attributes, the properties that came are those with a capital.
        attributes = {} if message.properties is None else vars(message.properties)
        found = {name: value for name, value in attributes.items() if name[0].isupper()}
        self.messages.append(Message(message.topic, bytes(message.payload), message.qos, message.retain, found))

    def _on_subscribe(
        self,
        _client: Client,
        _data: Any,
        number: int,
        codes: Sequence[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._granted[number] = [min(code.value, REFUSED) for code in codes]

    def _on_publish(
        self, _client: Client, _data: Any, _number: int, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.value >= REFUSED:
            self.refusals.append(code.value)

    def _on_unsubscribe(self, _client: Client, _data: Any, number: int, *_: object) -> None:
        self._unsubscribed.add(number)


def paho_properties(kind: int, values: dict[str, Any] | None) -> Properties | None:
    """Return properties of a packet of MQTT 5, given by paho's names."""
    if not values:
        return None
    properties = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
