"""What an attacker knows, and what each of its connections does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["MANY_ADDRESSES", "Attack", "Client", "Plan", "Scene", "read_clients"]

MANY_ADDRESSES = 60_000
"""Loopback addresses of an attacker whom no bound per address holds back."""


@dataclass(frozen=True, slots=True)
class Client:
    """What somebody connects with."""

    client_id: str
    key: str
    secret: str

    def topic(self, rest: str) -> str:
        """Return one of the device's own topics, or a filter of them."""
        return f"devices/{self.client_id}/{rest}"


def read_clients(path: Path) -> list[Client]:
    """Read them from where the load generator has them: first the back end, then the devices."""
    return [Client(*line.split("\t")) for line in path.read_text().splitlines()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where the server listens, and whose credentials the attacker has.

    Args:
        http_port: registration's.
        mqtt_port: MQTT over TCP.
        ws_port: MQTT over WebSocket.
        tls_port: MQTT over TLS; 0 = the server has no certificate.
        application: a key that reaches every device.
        devices: without the victim.
    """

    http_port: int
    mqtt_port: int
    ws_port: int
    tls_port: int
    application: Client
    devices: Sequence[Client]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What some connections do, all of them alike. One that the server closes is opened again.

    Args:
        port: where to.
        connections: how many at once.
        noun: what is counted.
        steps: what the connection in a slot sends first, by slot and by how many were opened before; after each
            it waits for an answer.
        lead: what it sends then, without waiting.
        flood: what it sends from then on again and again, by slot.
        per_flood: how many of what is counted that has.
        drip: what it sends from then on every `drip_seconds`.
        drip_seconds: how often.
        leaves: it closes when it has sent its lead. What is counted is how often that, or a refusal, happens.
        is_reading: it takes what the server sends it once its steps are done.
        receive_buffer: bytes that its socket holds unread; 0 = the system's default.
        addresses: from how many it comes, in turn.
        reopen_seconds: how long it waits before it opens one again.
    """

    port: int
    connections: int
    noun: str
    steps: Callable[[int, int], Sequence[bytes]] = lambda _slot, _number: ()
    lead: Callable[[int], bytes] = lambda _slot: b""
    flood: Callable[[int], bytes] | None = None
    per_flood: int = 1
    drip: bytes = b""
    drip_seconds: float = 0.0
    leaves: bool = False
    is_reading: bool = True
    receive_buffer: int = 0
    addresses: int = MANY_ADDRESSES
    reopen_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way to abuse the server.

    Args:
        name: how the command line names it.
        summary: what the attacker does, as a sentence.
        plans: what its connections do.
        hits_http: a client of HTTP is measured besides the device.
        needs_tls: the server has a certificate, and so WebSockets speak TLS.
        is_bandwidth: it fills the wire with large payloads, so the victim's time is for information.
    """

    name: str
    summary: str
    plans: Callable[[Scene], Sequence[Plan]]
    hits_http: bool = False
    needs_tls: bool = False
    is_bandwidth: bool = False
