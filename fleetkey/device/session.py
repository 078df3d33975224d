"""One connection without retries, for commands that do one thing and exit."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from fleetkey.device.connection import Connection, Ended
from fleetkey.device.credentials import Credentials
from fleetkey.device.errors import DeviceError
from fleetkey.device.outbox import Message

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from fleetkey.device.outbox import Delivery
    from fleetkey.device.versions import MqttVersion

__all__ = ["Session"]

JOIN_SECONDS = 2.0
MAX_WAITING_EVENTS = 1000


class Session:
    """Connects in the background of a `with` block; its events are read one by one.

    Args:
        credentials: the identity to connect with. Without a client id (an application key), a random one is used.
        tls_context: trust for brokers with TLS, or None for the system's.
        subscribe: topic filters to subscribe to.
        mqtt_version: as in `Connection`.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        tls_context: ssl.SSLContext | None = None,
        subscribe: Sequence[str] = (),
        mqtt_version: MqttVersion | None = None,
    ) -> None:
        self._credentials = credentials
        self._subscribe = tuple(subscribe)
        # Bounded: if nobody reads, the broker has to wait.
        self._events: queue.Queue[Credentials | Message | DeviceError | Ended] = queue.Queue(MAX_WAITING_EVENTS)
        self._early: deque[Message] = deque()
        self._connection = Connection(self, tls_context=tls_context, mqtt_version=mqtt_version)
        self._thread = threading.Thread(target=self._run, name="fleetkey-session", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.stop()
        self._thread.join(JOIN_SECONDS)

    def wait_connected(self, timeout_seconds: float) -> None:
        """Wait until the broker accepted us and our subscriptions.

        Raises:
            DeviceError: it refused one of them, can't be reached, or took too long.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            event = self._next(deadline - time.monotonic())
            if isinstance(event, Credentials):
                return
            if isinstance(event, Message):
                # A broker may send messages before it answers the subscription (MQTT 3.1.1, 3.8.4).
                self._early.append(event)
            if event is None:
                raise DeviceError(
                    f"the broker did not answer within {timeout_seconds:g} s: is it overloaded? "
                    "One that only speaks MQTT 3.1.1 may need --mqtt-version 3.1.1"
                )

    def next_message(self, timeout_seconds: float | None) -> Message | None:
        """Return the next message, or None after the timeout; without a timeout, wait for ever.

        Raises:
            DeviceError: the connection ended.
        """
        if self._early:
            return self._early.popleft()
        event = self._next(timeout_seconds)
        return None if event is None or isinstance(event, Credentials) else event

    def deliver(self, message: Message, timeout_seconds: float) -> None:
        """Publish and wait until it is delivered.

        Raises:
            DeviceError: the broker refused it, the connection ended first, or it took too long.
        """
        delivery: Delivery = self._connection.publish(message)
        if delivery.wait(timeout_seconds):
            return
        if delivery.error is not None:
            raise delivery.error
        if delivery.is_lost:
            while self._next(JOIN_SECONDS) is not None:
                pass
        raise DeviceError(f"the broker did not acknowledge the message within {timeout_seconds:g} s")

    def on_connected(self, credentials: Credentials) -> None:
        """Queue it (called by the connection)."""
        self._events.put(credentials)

    def on_message(self, message: Message) -> None:
        """Queue it (called by the connection)."""
        self._events.put(message)

    def on_error(self, error: DeviceError) -> None:
        """Queue it (called by the connection)."""
        self._events.put(error)

    def _next(self, timeout_seconds: float | None) -> Credentials | Message | None:
        try:
            event = self._events.get(timeout=None if timeout_seconds is None else max(0.0, timeout_seconds))
        except queue.Empty:
            return None
        if isinstance(event, DeviceError):
            raise event
        if isinstance(event, Ended):
            raise event.error or DeviceError("the connection ended")
        return event

    def _run(self) -> None:
        client_id = self._credentials.mqtt.client_id or f"app-{secrets.token_hex(6)}"
        ended = self._connection.run(self._credentials, client_id=client_id, subscribe=self._subscribe)
        self._connection.finish()
        self._events.put(ended)
