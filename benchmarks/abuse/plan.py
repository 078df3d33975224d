"""What an attacker knows, and what each of its connections does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.figure import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = [
    "MANY_ADDRESSES",
    "VICTIMS",
    "Application",
    "Attack",
    "Client",
    "Plan",
    "Scene",
    "Step",
    "Targets",
    "read_clients",
    "read_scene",
]

MANY_ADDRESSES = 60_000
"""Loopback addresses of an attacker whom no bound per address holds back."""
VICTIMS = 2
"""The first devices: one is connected, one logs in again and again."""
OWNER_DISK_MIB = 64
"""What one owner may make the server store."""


@dataclass(frozen=True, slots=True)
class Client:
    """What somebody connects with."""

    client_id: str
    key: str
    secret: str

    def topic(self, rest: str) -> str:
        """Return one of the device's own topics, or a filter of them."""
        return f"devices/{self.client_id}/{rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application key that reaches one device."""

    key: str
    secret: str
    device_id: str

    def session(self, name: object) -> Client:
        """Return the key with a client id of its own."""
        return Client(f"application-{self.key[:8]}-{name}", self.key, self.secret)

    def topic(self, rest: str) -> str:
        """Return a topic of its device, or a filter of them."""
        return f"devices/{self.device_id}/{rest}"


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
        back_end: a key that reaches every device.
        devices: without the victims.
        applications: keys that reach one device each, the first one that of the first device, and so on.
        token: of the admin API, for reading.
    """

    http_port: int
    mqtt_port: int
    ws_port: int
    tls_port: int
    back_end: Client
    devices: Sequence[Client]
    applications: Sequence[Application]
    token: str


def read_scene(clients: Path, keys: Path, *, http_port: int, mqtt_port: int, ws_port: int, tls_port: int) -> Scene:
    """Return what an attacker knows, by the files of an `AbuseFleet` and a server's ports."""
    back_end, *devices = read_clients(clients)
    others = json.loads(keys.read_text())
    return Scene(
        http_port=http_port,
        mqtt_port=mqtt_port,
        ws_port=ws_port,
        tls_port=tls_port,
        back_end=back_end,
        devices=devices[VICTIMS:],
        applications=[Application(**one) for one in others["applications"]],
        token=others["token"],
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What a connection sends, and how many bytes of answers it then waits for."""

    data: bytes
    answer_bytes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What some connections do, all of them alike. One that the server closes is opened again.

    Args:
        port: where to.
        connections: how many at once.
        noun: what is counted.
        steps: what the connection in a slot sends first, by slot and by how many were opened before; after each
            it waits for an answer, of any length unless it is a `Step`.
        lead: what it sends then, without waiting.
        flood: what it sends from then on again and again, by slot; in pieces that slots may share, or in one.
        per_flood: how many of what is counted that has.
        drip: what it sends from then on every `drip_seconds`.
        drip_seconds: how often.
        drip_bytes: it sends no more than this of its drip at a time, the next part each time; 0 = all of it.
        leaves: it closes when it has sent its lead. What is counted is how often that, or a refusal, happens.
        is_reading: it takes what the server sends it once its steps are done.
        receive_buffer: bytes that its socket holds unread; 0 = the system's default.
        addresses: from how many it comes, in turn.
        reopen_seconds: how long it waits before it opens one again.
    """

    port: int
    connections: int
    noun: str
    steps: Callable[[int, int], Sequence[bytes | Step]] = lambda _slot, _number: ()
    lead: Callable[[int], bytes] = lambda _slot: b""
    flood: Callable[[int], bytes | Sequence[bytes]] | None = None
    per_flood: int = 1
    drip: bytes = b""
    drip_seconds: float = 0.0
    drip_bytes: int = 0
    leaves: bool = False
    is_reading: bool = True
    receive_buffer: int = 0
    addresses: int = MANY_ADDRESSES
    reopen_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What an attack may do; none of a kind = it is measured for information.

    Args:
        latency: of each victim, in milliseconds at the 99th percentile.
        memory: of the server, in MiB.
        disk: of what it stores, in MiB.
    """

    latency: tuple[Target, ...] = (Target("added", "<=", 10),)
    memory: tuple[Target, ...] = (Target("added", "<=", 256),)
    disk: tuple[Target, ...] = (Target("added", "<=", 1.1 * OWNER_DISK_MIB),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way to abuse the server.

    Args:
        name: how the command line names it.
        summary: what the attacker does, as a sentence.
        plans: what its connections do.
        preparation: what comes before, one plan after the other: each connection leaves, and isn't opened again.
        seconds: how long it lasts.
        victim_qos: of the device's messages; at QoS 1 its session is persistent, so that its messages are stored.
        hits_http: a client of HTTP is measured besides the device.
        hits_log_ins: another device that logs in again and again is measured as well.
        needs_tls: the server has a certificate, and so WebSockets speak TLS.
        needs_labels: each device has as many tags as it may have.
        fills_disk: meanwhile, the server's files can't grow.
        settings: of the server, besides the defaults, as in its file.
        targets: what is measured has to reach them.
    """

    name: str
    summary: str
    plans: Callable[[Scene], Sequence[Plan]]
    preparation: Callable[[Scene], Sequence[Plan]] = lambda _: ()
    seconds: float = 5.0
    victim_qos: int = 0
    hits_http: bool = False
    hits_log_ins: bool = False
    needs_tls: bool = False
    needs_labels: bool = False
    fills_disk: bool = False
    settings: str = ""
    targets: Targets = Targets()
