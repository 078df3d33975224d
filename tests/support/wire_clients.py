"""Clients of one server for one test: connected with a key that reaches every topic, and closed at the end."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Self

from tests.support.packets import Will, connect
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet

__all__ = ["EVERYTHING", "Clients"]

EVERYTHING: dict[str, tuple[str, ...]] = {"publish": ("#",), "subscribe": ("#",)}
"""The scope of an application that is nothing but an MQTT client."""


class Clients:
    """Makes clients.

    Args:
        fleet: the server's.
        key: what they connect with, unless a test says otherwise.
    """

    def __init__(self, fleet: Fleet, key: Credentials) -> None:
        self.fleet = fleet
        self.key = key
        self.root = secrets.token_hex(4)
        """First level of this test's topics."""
        self._open: list[Wire] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self._open:
            wire.close()

    def name(self) -> str:
        """Return a new client id that every server must take (3.1.3-5)."""
        return f"C{secrets.token_hex(8)}"

    def topic(self, rest: str) -> str:
        """Return a topic, or a filter, of this test."""
        return f"{self.root}/{rest}"

    def open(self, *, websocket: bool = False) -> Wire:
        """Return a connection on which nothing was sent yet."""
        wire = Wire.to(self.fleet, websocket=websocket)
        self._open.append(wire)
        return wire

    def hello(
        self,
        client_id: str | bytes,
        *,
        clean: bool = True,
        will: Will | None = None,
        keep_alive_seconds: int = 60,
        key: Credentials | None = None,
        properties: bytes = b"",
    ) -> bytes:
        """Return a CONNECT that the broker accepts."""
        key = key or self.key
        return connect(
            client_id,
            key.key,
            key.secret,
            clean=clean,
            will=will,
            keep_alive_seconds=keep_alive_seconds,
            properties=properties,
        )

    def connect(
        self,
        client_id: str | bytes | None = None,
        *,
        clean: bool = True,
        will: Will | None = None,
        keep_alive_seconds: int = 60,
        key: Credentials | None = None,
        properties: bytes = b"",
        websocket: bool = False,
    ) -> Wire:
        """Return a client that the broker let in; the properties are those of MQTT 5, without their length."""
        wire = self.open(websocket=websocket)
        name = self.name() if client_id is None else client_id
        hello = self.hello(
            name, clean=clean, will=will, keep_alive_seconds=keep_alive_seconds, key=key, properties=properties
        )
        assert wire.log_in(hello) == 0
        return wire

    def subscriber(self, *filters: str, qos: int = 0, client_id: str | None = None, clean: bool = True) -> Wire:
        """Return a client with subscriptions."""
        wire = self.connect(client_id, clean=clean)
        assert wire.subscribe(*filters, qos=qos) == [qos] * len(filters)
        return wire

    def witness(self) -> Wire:
        """Return a client that gets every message from now on, and no retained one of an earlier test."""
        wire = self.subscriber("#")
        wire.publications()
        return wire

    def send(
        self, topic: str, payload: bytes = b"x", *, qos: int = 0, retain: bool = False, properties: bytes = b""
    ) -> None:
        """Publish from a client of its own, and return when the broker has handled it."""
        wire = self.connect()
        wire.publish(topic, payload, qos=qos, retain=retain, properties=properties)
        wire.disconnect()

    def retained(self, topic_filter: str, *, qos: int = 2) -> list[tuple[str, bytes, int]]:
        """Return topic, payload and QoS of what a new subscriber is sent, each of which must have the flag."""
        wire = self.subscriber(topic_filter, qos=qos)
        found = wire.publications()
        wire.close()
        assert all(got.retain for got in found)
        return sorted((got.topic, got.payload, got.qos) for got in found)
