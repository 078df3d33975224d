"""One MQTT connection at a time (MQTT 3.1.1 over paho-mqtt), from TCP connect to disconnect, in the calling thread.

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

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from fleetkey.device.errors import BrokerRefused, BrokerUnreachable, ConnectionLost, DeviceError, SubscriptionRefused
from fleetkey.device.outbox import Delivery, Message, Outbox
from fleetkey.device.waker import Waker, clear

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from fleetkey.device.credentials import Credentials

__all__ = ["Connection", "ConnectionEvents", "Ended"]

# paho translates the 3.1.1 return code of a CONNACK to MQTT 5 reason codes; this translates them back.
RETURN_CODES = {132: 1, 133: 2, 136: 3, 134: 4, 135: 5}
KEEPALIVE_SECONDS = range(1, 65_536)
MAX_IN_FLIGHT = 20
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
        clean_session: False keeps the broker's session between connections (MQTT 3.1.1, 3.1.2.4).
        keepalive_seconds: the longest silence before a PINGREQ, 1 to 65535 (MQTT 3.1.1, 3.1.2.10).
        connect_timeout_seconds: the longest that the TCP and TLS handshakes, and then the broker's answers, may take.
        max_queued_messages: how many messages may be undelivered, at least 1.

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
    ) -> None:
        if connect_timeout_seconds <= 0 or keepalive_seconds not in KEEPALIVE_SECONDS:
            raise ValueError("the connect timeout must be greater than 0 seconds, the keepalive 1 to 65535")
        self._events = events
        self._tls_context = tls_context
        self._clean_session = clean_session
        self._keepalive_seconds = keepalive_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._outbox = Outbox(max_queued_messages)
        self._stopping = threading.Event()
        self._waker = Waker()
        self._client: Client | None = None
        self._identity: tuple[str, bool] | None = None
        self._credentials: Credentials | None = None
        self._filters: tuple[str, ...] = ()
        self._up_since: float | None = None
        self._is_ready = False
        self._refusal: BrokerRefused | None = None

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
        self._up_since, self._is_ready, self._refusal = None, False, None
        client = self._client_for(credentials, client_id)
        waking = self._waker.open()
        try:
            if self._stopping.is_set():
                return Ended(up_seconds=0.0, error=None)
            client.connect(credentials.mqtt.host, credentials.mqtt.port, self._keepalive_seconds)
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

    def _client_for(self, credentials: Credentials, client_id: str) -> Client:
        """Reuse paho's client for the same identity, because it holds what the broker hasn't acknowledged."""
        identity = (client_id, credentials.mqtt.tls)
        if self._client is None or self._identity != identity:
            if self._client is not None:
                # Another identity: the remaining messages are for topics of the old one.
                self._outbox.abandon()
            self._client, self._identity = self._new_client(client_id, tls=credentials.mqtt.tls), identity
        self._client.username_pw_set(credentials.key, credentials.secret.reveal())
        return self._client

    def _new_client(self, client_id: str, *, tls: bool) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=self._clean_session,
            protocol=MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._connect_timeout_seconds
        client.max_inflight_messages = MAX_IN_FLIGHT
        if tls:
            client.tls_set_context(self._tls_context)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        # With this set, paho leaves writing to `_talk`, so no callback runs inside `publish`.
        client.on_socket_register_write = _leave_writing_to_the_loop
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
        if self._is_ready:
            return ConnectionLost(address)
        if client.socket() is None:
            return BrokerUnreachable(address, "it closed the connection without an answer")
        return BrokerUnreachable(address, f"no answer within {self._connect_timeout_seconds:g} s")

    def _up_seconds(self) -> float:
        return 0.0 if self._up_since is None else time.monotonic() - self._up_since

    def _hand_over(self, client: Client) -> None:
        while self._outbox.in_flight_count < MAX_IN_FLIGHT:
            entry = self._outbox.take()
            if entry is None:
                return
            message, delivery = entry
            handed = client.publish(message.topic, message.payload, message.qos, message.retain)
            self._outbox.handed_over(handed.mid, message, delivery)

    def _become_ready(self) -> None:
        self._is_ready = True
        self._outbox.open()
        if self._credentials is not None:
            self._events.on_connected(self._credentials)

    def _on_connect(self, client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _: object) -> None:
        if code.is_failure:
            self._refusal = BrokerRefused(RETURN_CODES.get(code.value, 0))
            return
        self._up_since = time.monotonic()
        if self._filters:
            client.subscribe([(topic_filter, 1) for topic_filter in self._filters])
        else:
            self._become_ready()

    def _on_subscribe(
        self, _client: Client, _data: object, _packet_id: int, codes: list[ReasonCode], _properties: Properties
    ) -> None:
        refused = [name for name, code in zip(self._filters, codes, strict=False) if code.is_failure]
        if refused:
            self._events.on_error(SubscriptionRefused(refused))
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

    def _on_publish(self, _client: Client, _data: object, packet_id: int, _code: ReasonCode, _: object) -> None:
        self._outbox.acknowledged(packet_id)


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


def _leave_writing_to_the_loop(_client: Client, _data: object, _socket: object) -> None:
    """Do nothing."""


def _close(client: Client) -> None:
    """Close the socket without a DISCONNECT, so that a later `connect` starts clean."""
    left = client.socket()
    if left is not None:
        left.close()
