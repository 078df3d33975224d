"""The kinds of things that a client can make the server keep, and how clients make many of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from benchmarks.abuse.mqtt_packets import log_in
from tests.support.packets import publish, subscribe
from tests.support.streams import TcpStream, TlsStream, WebSocketStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import ExitStack

    from benchmarks.abuse.plan import Application, Client, Scene
    from benchmarks.abuse.server import Server
    from tests.support.streams import Stream

__all__ = ["KINDS", "Kind", "Maker"]

ACK_BYTES = 4
"""A CONNACK's, PUBACK's or PUBREC's length; a SUBACK's is that and a byte for each further filter."""
SUBACK_BYTES = 4
PER_BATCH, BATCH_BYTES = 100, 1 << 20
FILTERS_OF_SESSION = 500
QUEUED_OF_SESSION, QUEUED_BYTES = 1_000, 4_000_000
RETAINED_OF_DEVICE = 100
IN_FLIGHT_OF_SESSION = 32
UNRELEASED_OF_SESSION = 100
RECEIVERS = 100
CLIENTS_OF_ADDRESS = 500
DEEP = 32
SMALL, MIDDLE, LARGE = 64, 1_000, 64_000


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What the kinds are made with: a server, whose credentials there are, and where open connections are kept."""

    server: Server
    scene: Scene
    stack: ExitStack

    def application(self, number: int) -> Application:
        """Return one of the application keys, in turn."""
        return self.scene.applications[number % len(self.scene.applications)]

    def stay(self, stream: Stream, data: bytes = b"", answer_bytes: int = 0) -> Stream:
        """Keep a connection open, after an exchange."""
        self.stack.callback(stream.close)
        _exchange(stream, data, answer_bytes)
        return stream

    def connected(self, who: Client, *, clean: bool = True) -> Stream:
        """Return a client's connection, which stays."""
        return self.stay(TcpStream(self.server.port), log_in(who, clean=clean), ACK_BYTES)

    def leave_session(self, who: Client, filters: Sequence[tuple[str, int]] = ()) -> None:
        """Leave a persistent session with subscriptions behind."""
        with TcpStream(self.server.port) as stream:
            _exchange(stream, log_in(who, clean=False), ACK_BYTES)
            if filters:
                _exchange(stream, subscribe(1, *filters), SUBACK_BYTES + len(filters))

    @cached_property
    def sender(self) -> Stream:
        """The back end's connection."""
        return self.connected(self.scene.back_end)

    def send(self, stream: Stream, packets: Iterable[bytes]) -> None:
        """Send packets that are acknowledged one by one, some at a time."""
        for batch in _batches(packets):
            _exchange(stream, b"".join(batch), ACK_BYTES * len(batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    Args:
        part: how the command line names it.
        name: as a reader sees it.
        count: how many are made; half of them are measured.
        make: makes the next ones, by how many there are, and how many more.
        needs_tls: the server has a certificate.
    """

    part: str
    name: str
    count: int
    make: Callable[[Maker, int, int], None]
    needs_tls: bool = False


def _exchange(stream: Stream, data: bytes, answer_bytes: int) -> None:
    stream.send(data)
    while answer_bytes > 0:
        received = stream.receive()
        assert received, "the server closed a connection"
        answer_bytes -= len(received)


def _batches(packets: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for each in packets:
        batch.append(each)
        if len(batch) == PER_BATCH or len(batch) * len(each) > BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _source(number: int) -> str:
    return f"127.2.0.{1 + number // CLIENTS_OF_ADDRESS}"


def _strangers(maker: Maker, first: int, count: int) -> None:
    for number in range(first, first + count):
        maker.stay(TcpStream(maker.server.port, source=_source(number)))


def _connections(maker: Maker, first: int, count: int) -> None:
    for number in range(first, first + count):
        maker.connected(maker.scene.devices[number])


def _tls_connections(maker: Maker, first: int, count: int) -> None:
    for number in range(first, first + count):
        maker.stay(TlsStream(maker.server.tls_port), log_in(maker.scene.devices[number]), ACK_BYTES)


def _websockets(maker: Maker, first: int, count: int) -> None:
    for number in range(first, first + count):
        stream = WebSocketStream(TcpStream(maker.server.ws_port))
        maker.stay(stream, log_in(maker.scene.devices[number]), ACK_BYTES)


def _device_sessions(maker: Maker, first: int, count: int) -> None:
    for number in range(first, first + count):
        maker.leave_session(maker.scene.devices[number])


def _application_sessions(maker: Maker, first: int, count: int) -> None:
    for number in range(first, first + count):
        maker.leave_session(maker.application(number).session(number))


def _filters(levels: int, maker: Maker, first: int, count: int) -> None:
    """Subscribe to filters that share their first two levels and nothing else."""
    for start in range(first, first + count, FILTERS_OF_SESSION):
        session = start // FILTERS_OF_SESSION
        key = maker.application(session)
        numbers = range(start, start + FILTERS_OF_SESSION)
        maker.leave_session(key.session(session), [(key.topic(_deep(number, levels)), 1) for number in numbers])


def _deep(number: int, levels: int) -> str:
    """Return the end of a topic that has so many levels, with `devices/ID` before it."""
    return "/".join(f"{number}-{level}" for level in range(levels - 2))


def _queued(size: int, maker: Maker, first: int, count: int) -> None:
    """Fill queues of devices that are away, with a payload of its own for each message."""
    for start, device, of_session in _shares(maker, first, count, min(QUEUED_OF_SESSION, QUEUED_BYTES // size)):
        maker.leave_session(device, [(device.topic("#"), 1)])
        numbers = range(start, start + of_session)
        maker.send(maker.sender, (publish(device.topic("queued"), _payload(n, size), qos=1) for n in numbers))


def _queued_shared(size: int, maker: Maker, first: int, count: int) -> None:
    """Queue each message in many sessions at once."""
    key = maker.application(0)
    if not first:
        _subscribe_sessions(maker, RECEIVERS)
    numbers = range(first, first + count, RECEIVERS)
    maker.send(maker.sender, (publish(key.topic("queued"), _payload(n, size), qos=1) for n in numbers))


def _subscribe_sessions(maker: Maker, sessions: int) -> None:
    """Leave sessions of the first key behind that get whatever its device publishes."""
    key = maker.application(0)
    for number in range(sessions):
        maker.leave_session(key.session(number), [(key.topic("#"), 1)])


def _in_flight(size: int, maker: Maker, first: int, count: int) -> None:
    """Let devices send themselves messages and acknowledge none; what they get isn't counted as an answer."""
    for start, device, of_session in _shares(maker, first, count, IN_FLIGHT_OF_SESSION):
        stream = maker.connected(device, clean=False)
        _exchange(stream, subscribe(1, (device.topic("#"), 1)), SUBACK_BYTES + 1)
        numbers = range(start, start + of_session)
        packets = [publish(device.topic("sent"), _payload(n, size), qos=1) for n in numbers]
        _exchange(stream, b"".join(packets), sum(map(len, packets)) + ACK_BYTES * len(packets))


def _unreleased(maker: Maker, first: int, count: int) -> None:
    for _, device, of_session in _shares(maker, first, count, UNRELEASED_OF_SESSION):
        stream = maker.connected(device, clean=False)
        packets = (publish(device.topic("sent"), b"x", qos=2, number=1 + n) for n in range(of_session))
        maker.send(stream, packets)


def _retained(size: int, levels: int, maker: Maker, first: int, count: int) -> None:
    for start, device, of_device in _shares(maker, first, count, RETAINED_OF_DEVICE):
        with TcpStream(maker.server.port) as stream:
            _exchange(stream, log_in(device), ACK_BYTES)
            topics = {n: device.topic(_deep(n, levels)) for n in range(start, start + of_device)}
            maker.send(stream, (publish(topic, _payload(n, size), qos=1, retain=True) for n, topic in topics.items()))


def _routes(receivers: int, maker: Maker, first: int, count: int) -> None:
    """Publish to new topics at QoS 0, so that nothing is queued."""
    if not first:
        _subscribe_sessions(maker, receivers)
    key = maker.application(0)
    topics = range(first // max(receivers, 1), (first + count) // max(receivers, 1))
    for batch in _batches(publish(key.topic(str(number)), b"") for number in topics):
        maker.sender.send(b"".join(batch))
    # Its acknowledgement tells that the others were routed as well.
    maker.send(maker.sender, [publish("devices/x", b"", qos=1)])


def _shares(maker: Maker, first: int, count: int, most: int) -> Iterator[tuple[int, Client, int]]:
    """Divide things among devices, at most so many each: yields the first one's number, the device, and its share."""
    for start in range(first, first + count, most):
        yield start, maker.scene.devices[start // most], min(most, first + count - start)


def _payload(number: int, size: int) -> bytes:
    return b"%0*d" % (size, number)


KINDS = (
    Kind(part="stranger", name="connection before its log-in", count=3_000, make=_strangers),
    Kind(part="connection", name="connection of a device", count=4_000, make=_connections),
    Kind(part="tls", name="TLS connection of a device", count=2_000, make=_tls_connections, needs_tls=True),
    Kind(part="websocket", name="WebSocket connection of a device", count=2_000, make=_websockets),
    Kind(part="device-session", name="session of a device that is away", count=4_000, make=_device_sessions),
    Kind(part="session", name="session of an application that is away", count=4_000, make=_application_sessions),
    Kind(part="filter-3", name="filter of 3 levels", count=40_000, make=partial(_filters, 3)),
    Kind(part=f"filter-{DEEP}", name=f"filter of {DEEP} levels", count=8_000, make=partial(_filters, DEEP)),
    *(
        Kind(part=f"queued-{size}", name=f"queued message of {size:,} bytes", count=count, make=partial(_queued, size))
        for size, count in ((SMALL, 40_000), (MIDDLE, 40_000), (LARGE, 62 * 60))
    ),
    Kind(
        part="queued-shared",
        name=f"message queued once more, in one of {RECEIVERS} sessions",
        count=80_000,
        make=partial(_queued_shared, SMALL),
    ),
    Kind(part="in-flight", name="message of 1,000 bytes in flight", count=32_000, make=partial(_in_flight, MIDDLE)),
    Kind(part="unreleased", name="QoS 2 message not released yet", count=40_000, make=_unreleased),
    *(
        Kind(
            part=f"retained-{size}",
            name=f"retained message of {size:,} bytes",
            count=count,
            make=partial(_retained, size, 3),
        )
        for size, count in ((SMALL, 40_000), (MIDDLE, 40_000), (LARGE, 4_000))
    ),
    Kind(
        part="retained-deep",
        name=f"retained message of {SMALL} bytes on {DEEP} levels",
        count=8_000,
        make=partial(_retained, SMALL, DEEP),
    ),
    Kind(part="route", name="route without receivers", count=40_000, make=partial(_routes, 0)),
    Kind(part="receiver", name="receiver of a route that has 100", count=150_000, make=partial(_routes, RECEIVERS)),
)
