"""paho-mqtt's client in both versions of MQTT."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from paho.mqtt import MQTTException
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleetkey.device.versions import MQTT_5

if TYPE_CHECKING:
    from fleetkey.device.credentials import MqttSettings
    from fleetkey.device.versions import MqttVersion

__all__ = ["begin", "new_client"]

NO_END = 0xFFFF_FFFF
"""The session expiry interval of a session that never expires (MQTT 5.0, 3.1.2.11.2)."""

LONG_PUBREC = 3
"""Bytes of a PUBREC with a reason code."""
FAILURE = 0x80
"""From here on, a reason code says that something failed (MQTT 5.0, 2.4)."""
BROKEN = (MQTTException, IndexError, KeyError, ValueError, struct.error)
"""What paho raises for properties and reason codes that MQTT doesn't have."""


class _Client(Client):
    """Ends the handshake of a QoS 2 message that is refused. paho ignores why, and would call it delivered."""

    def _handle_pubrec(self) -> MQTTErrorCode:
        packet = bytes(self._in_packet["packet"])
        if self._protocol != MQTTProtocolVersion.MQTTv5 or len(packet) < LONG_PUBREC or packet[2] < FAILURE:
            return super()._handle_pubrec()
        properties = Properties(PacketTypes.PUBREC)  # type: ignore[no-untyped-call]
        try:
            reason = ReasonCode(PacketTypes.PUBREC, identifier=packet[2])
            if len(packet) > LONG_PUBREC:
                properties.unpack(packet[3:])  # type: ignore[no-untyped-call]
        except BROKEN:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        number = int.from_bytes(packet[:2], "big")
        with self._out_message_mutex:
            if number in self._out_messages:
                # MQTT 5.0, 4.3.3: no PUBREL follows.
                return self._do_on_publish(number, reason, properties)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def new_client(client_id: str, version: MqttVersion, *, is_clean: bool) -> Client:
    """Return a client that never reconnects by itself, and writes only in `loop_write`.

    Args:
        client_id: the MQTT client id.
        version: which version it speaks.
        is_clean: whether its sessions end with their connections.
    """
    is_5 = version == MQTT_5
    client = _Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        # In MQTT 5, each connection says so: see `begin`.
        clean_session=None if is_5 else is_clean,
        protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    # With this set, no callback runs inside `publish`.
    client.on_socket_register_write = _leave_writing_to_the_loop
    return client


def begin(
    client: Client, settings: MqttSettings, version: MqttVersion, keepalive_seconds: int, *, is_clean: bool
) -> None:
    """Connect to a broker's socket and send CONNECT.

    Args:
        client: the client.
        settings: the broker's address.
        version: that of the client.
        keepalive_seconds: the keep-alive.
        is_clean: whether the session ends with this connection; otherwise it is kept for as long as the broker allows.

    Raises:
        OSError: there is no connection.
        ValueError: the host isn't a valid name.
    """
    if version != MQTT_5:
        client.connect(settings.host, settings.port, keepalive_seconds)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    if not is_clean:
        properties.SessionExpiryInterval = NO_END
    client.connect(settings.host, settings.port, keepalive_seconds, clean_start=is_clean, properties=properties)


def _leave_writing_to_the_loop(_client: Client, _data: object, _socket: object) -> None:
    """Do nothing."""
