"""One MQTT connection at a time (paho-mqtt, MQTT 5 or 3.1.1), from TCP connect to disconnect, in the calling thread.

Only the thread inside `Connection.run` touches paho. Others put messages into the outbox and wake that thread, so
paho's locks can't deadlock with ours, and nothing is written before the broker has accepted the connection.
"""

from __future__ import annotations

import logging
import math
import selectors
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fleetkey.device.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ConnectionLost,
    DeviceError,
    PublishRefused,
    SubscriptionRefused,
)
from fleetkey.device.outbox import Delivery, Message, Outbox
from fleetkey.device.paho import begin, new_client
from fleetkey.device.reasons import PACKET_ID_NOT_FOUND, PACKET_TOO_LARGE, UNSUPPORTED_VERSION, reason_string
from fleetkey.device.versions import MQTT_5, MqttVersion, VersionChoice
from fleetkey.device.waker import Waker, clear

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from fleetkey.device.credentials import Credentials

__all__ = ["Connection", "ConnectionEvents", "Ended"]

KEEPALIVE_SECONDS = range(1, 65_536)
MAX_IN_FLIGHT = 20
MAX_PACKET_BYTES = 268_435_460
MAX_HEADER_BYTES = 10
TICK_SECONDS = 1.0
FAREWELL_SECONDS = 1.0

logger = logging.getLogger("fleetkey.device")


class ConnectionEvents(Protocol):
    """What a connection reports. Called in the connection's thread; must not raise."""

    def on_connected(self, credentials: Credentials) -> None:
        """The broker accepted us and answered the subscriptions."""

    def on_message(self, message: Message) -> None:
        """A message was received."""

    def on_error(self, error: DeviceError) -> None:
        """An expected error occurred that doesn't end the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a connection ended.

    Attributes:
        up_seconds: how long it lasted after the broker accepted it; 0 if it didn't.
        error: why it ended, or None if we ended it.
    """

    up_seconds: float
    error: DeviceError | None


class Connection:
    """Connects, subscribes and delivers until the connection ends. Reconnecting is up to the caller.

    Args:
        events: gets what happens on the connection.
        tls_context: trust for brokers with TLS.
        clean_session: False keeps the broker's session between connections, for as long as the broker allows (MQTT 5.0,
            3.1.2.4 and 3.1.2.11.2; MQTT 3.1.1, 3.1.2.4).
        keepalive_seconds: the longest silence before a PINGREQ, 1 to 65535 (MQTT 3.1.1, 3.1.2.10).
        connect_timeout_seconds: the longest that the TCP and TLS handshakes, and then the broker's answers, may take.
        max_queued_messages: how many messages may be undelivered, at least 1.
        mqtt_version: the only version to speak, or None for 5, and 3.1.1 with brokers that speak nothing newer.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        events: ConnectionEvents,
        *,
        tls_context: ssl.SSLContext | None = None,
        clean_session: bool = True,
        keepalive_seconds: int = 60,
        connect_timeout_seconds: float = 10.0,
        max_queued_messages: int = 1000,
        mqtt_version: MqttVersion | None = None,
    ) -> None:
        if connect_timeout_seconds <= 0 or keepalive_seconds not in KEEPALIVE_SECONDS:
            raise ValueError("the connect timeout must be greater than 0 seconds, the keepalive 1 to 65535")
        self._events = events
        self._tls_context = tls_context
        self._clean_session = clean_session
        self._keepalive_seconds = keepalive_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._outbox = Outbox(max_queued_messages)
        self._versions = VersionChoice(mqtt_version)
        self._stopping = threading.Event()
        self._waker = Waker()
        self._client: Client | None = None
        self._identity: tuple[str, bool] | None = None
        self._version = MQTT_5
        self._credentials: Credentials | None = None
        self._filters: tuple[str, ...] = ()
        self._up_since: float | None = None
        self._is_ready = False
        self._refusal: BrokerRefused | None = None
        self._farewell: ConnectionLost | None = None
        self._max_in_flight = MAX_IN_FLIGHT
        self._max_packet_bytes = MAX_PACKET_BYTES

    def publish(self, message: Message) -> Delivery:
        """Queue a message, from any thread.

        Raises:
            OutboxFull: too many messages are undelivered.
        """
        delivery = self._outbox.put(message)
        self._waker.wake()
        return delivery

    def stop(self) -> None:
        """End the connection for good, from any thread. Queued messages are sent if that is possible at once."""
        self._stopping.set()
        self._waker.wake()

    def run(self, credentials: Credentials, *, client_id: str, subscribe: Sequence[str] = ()) -> Ended:
        """Connect, and return when the connection has ended.

        Args:
            credentials: the identity and the broker to connect to.
            client_id: the MQTT client id.
            subscribe: topic filters to subscribe to at QoS 1, before `on_connected` is called.
        """
        self._credentials, self._filters = credentials, tuple(subscribe)
        version = self._versions.version_for(credentials.mqtt.address)
        ended = self._connect(credentials, client_id, version)
        is_too_new = isinstance(ended.error, BrokerRefused) and ended.error.reason_code == UNSUPPORTED_VERSION
        if is_too_new and self._versions.refused(version):
            logger.info("device.older_mqtt broker=%s", credentials.mqtt.address)
            version = self._versions.version_for(credentials.mqtt.address)
            ended = self._connect(credentials, client_id, version)
        return ended

    def _connect(self, credentials: Credentials, client_id: str, version: MqttVersion) -> Ended:
        self._up_since, self._is_ready, self._refusal, self._farewell = None, False, None, None
        self._max_in_flight, self._max_packet_bytes = MAX_IN_FLIGHT, MAX_PACKET_BYTES
        client = self._client_for(credentials, client_id, version)
        waking = self._waker.open()
        try:
            if self._stopping.is_set():
                return Ended(up_seconds=0.0, error=None)
            begin(client, credentials.mqtt, version, self._keepalive_seconds, is_clean=self._clean_session)
            return self._talk(client, waking, credentials.mqtt.address)
        except (OSError, ValueError) as error:
            # ValueError: the host isn't a valid name (IDNA). Every other failure is an OSError.
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return Ended(up_seconds=self._up_seconds(), error=BrokerUnreachable(credentials.mqtt.address, reason))
        finally:
            self._waker.close(waking)
            self._outbox.close()
            _close(client)

    def finish(self) -> None:
        """Drop everything undelivered, now and later; call it outside `run`."""
        self._client = None
        self._outbox.finish()

    def _client_for(self, credentials: Credentials, client_id: str, version: MqttVersion) -> Client:
        """Reuse paho's client for the same identity, because it holds what the broker hasn't acknowledged."""
        identity = (client_id, credentials.mqtt.tls)
        if self._client is None or (self._identity, self._version) != (identity, version):
            if self._client is not None and self._identity != identity:
                # Another identity: the remaining messages are for topics of the old one.
                self._outbox.abandon()
            self._outbox.take_back()
            self._identity, self._version = identity, version
            self._client = self._new_client(client_id, tls=credentials.mqtt.tls)
        self._client.username_pw_set(credentials.key, credentials.secret.reveal())
        return self._client

    def _new_client(self, client_id: str, *, tls: bool) -> Client:
        client = new_client(client_id, self._version, is_clean=self._clean_session)
        client.connect_timeout = self._connect_timeout_seconds
        client.max_inflight_messages = MAX_IN_FLIGHT
        if tls:
            client.tls_set_context(self._tls_context)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _talk(self, client: Client, waking: socket.socket, address: str) -> Ended:
        is_leaving = False
        give_up_at = time.monotonic() + self._connect_timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(waking, selectors.EVENT_READ)
            connected = client.socket()
            if connected is not None:
                selector.register(connected, selectors.EVENT_READ)
            while client.socket() is not None and time.monotonic() < give_up_at:
                if self._is_ready:
                    self._hand_over(client)
                if self._stopping.is_set() and not is_leaving:
                    is_leaving, give_up_at = True, time.monotonic() + FAREWELL_SECONDS
                    client.disconnect()
                elif self._is_ready and not is_leaving:
                    give_up_at = math.inf
                _wait(selector, client, waking, min(TICK_SECONDS, give_up_at - time.monotonic()))
        if is_leaving:
            return Ended(up_seconds=self._up_seconds(), error=None)
        return Ended(up_seconds=self._up_seconds(), error=self._why(client, address))

    def _why(self, client: Client, address: str) -> DeviceError:
        if self._refusal is not None:
            return self._refusal
        if self._farewell is not None:
            return self._farewell
        if self._is_ready:
            return ConnectionLost(address)
        if self._up_since is None:
            self._versions.unanswered(self._version)
        if client.socket() is None:
            return BrokerUnreachable(address, "it closed the connection without an answer")
        return BrokerUnreachable(address, f"no answer within {self._connect_timeout_seconds:g} s")

    def _up_seconds(self) -> float:
        return 0.0 if self._up_since is None else time.monotonic() - self._up_since

    def _hand_over(self, client: Client) -> None:
        while self._outbox.in_flight_count < self._max_in_flight:
            entry = self._outbox.take()
            if entry is None:
                return
            message, delivery = entry
            if len(message.topic.encode()) + len(message.payload) + MAX_HEADER_BYTES > self._max_packet_bytes:
                # The broker would close the connection, each time again (MQTT 5.0, 3.2.2.3.6).
                text = f"the broker takes {self._max_packet_bytes} bytes"
                error = PublishRefused(message.topic, PACKET_TOO_LARGE, text)
                delivery.settle(delivered=False, error=error)
                self._events.on_error(error)
                continue
            handed = client.publish(message.topic, message.payload, message.qos, message.retain)
            self._outbox.handed_over(handed.mid, message, delivery)

    def _become_ready(self) -> None:
        self._is_ready = True
        self._outbox.open()
        if self._credentials is not None:
            self._events.on_connected(self._credentials)

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.value != UNSUPPORTED_VERSION:
            self._versions.answered(self._version)
        if code.is_failure:
            self._refusal = BrokerRefused(code.value, reason_string(properties))
            return
        self._up_since = time.monotonic()
        self._max_in_flight = min(MAX_IN_FLIGHT, getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT))
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES)
        if self._filters:
            client.subscribe([(topic_filter, 1) for topic_filter in self._filters])
        else:
            self._become_ready()

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        code: ReasonCode | None,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server and self._credentials is not None and code is not None:
            address = self._credentials.mqtt.address
            self._farewell = ConnectionLost(address, code.value if code.is_failure else None, reason_string(properties))

    def _on_subscribe(
        self, _client: Client, _data: object, _packet_id: int, codes: list[ReasonCode], properties: Properties
    ) -> None:
        refused = [(name, code) for name, code in zip(self._filters, codes, strict=False) if code.is_failure]
        if refused:
            # MQTT 3.1.1 has one code for all reasons.
            why = refused[0][1].value if self._version == MQTT_5 else None
            error = SubscriptionRefused([name for name, _ in refused], why, reason_string(properties))
            self._events.on_error(error)
        self._become_ready()

    def _on_message(self, _client: Client, _data: object, incoming: MQTTMessage) -> None:
        try:
            topic = incoming.topic
        except UnicodeDecodeError:
            logger.warning("device.message_dropped reason=%s", "topic is not UTF-8")
            return
        self._events.on_message(
            Message(topic=topic, payload=bytes(incoming.payload), qos=incoming.qos, retain=incoming.retain)
        )

    def _on_publish(
        self, _client: Client, _data: object, packet_id: int, code: ReasonCode, properties: Properties
    ) -> None:
        topic = self._outbox.topic_of(packet_id)
        # A PUBREL that was sent again may be about a message that the broker has already released (MQTT 5.0, 4.4).
        if topic is None or not code.is_failure or code.value == PACKET_ID_NOT_FOUND:
            self._outbox.acknowledged(packet_id)
            return
        error = PublishRefused(topic, code.value, reason_string(properties))
        self._outbox.refused(packet_id, error)
        self._events.on_error(error)


def _wait(selector: selectors.BaseSelector, client: Client, waking: socket.socket, timeout_seconds: float) -> None:
    """Sleep until there is something to do, then let paho do it."""
    connected: Any = client.socket()
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
    selector.modify(connected, wanted)
    # TLS may hold decrypted bytes that the selector can't see.
    is_pending = hasattr(connected, "pending") and connected.pending() > 0
    ready = {key.fileobj for key, _ in selector.select(0 if is_pending else max(0.0, timeout_seconds))}
    if waking in ready:
        clear(waking)
    if is_pending or connected in ready:
        client.loop_read()
    if client.socket() is not None and client.want_write():
        client.loop_write()
    if client.socket() is not None:
        client.loop_misc()


def _close(client: Client) -> None:
    """Close the socket without a DISCONNECT, so that a later `connect` starts clean."""
    left = client.socket()
    if left is not None:
        left.close()
