"""What was sent arrives: before a DISCONNECT, in order, at the lower QoS, exactly once where that was asked for."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.exactly_once import Receiver, Sender
from tests.support.fleet import running
from tests.support.packets import DISCONNECT, Kind, Will, connect, publish
from tests.support.versions import in_turn
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


PUBACK = 4
MAX_INFLIGHT = 16
MANY = 400


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server with a narrow window."""
    with running(tmp_path_factory.mktemp("server"), max_inflight=MAX_INFLIGHT) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_sent_before_disconnect(fleet: Fleet, backend_key: Credentials, qos: int, *, websocket: bool) -> None:
    """Hundreds of messages and a DISCONNECT in one go, and nobody waits for an answer: all of them arrive."""
    device = fleet.device()
    count = 80 if qos == 2 else MANY
    messages = b"".join(
        publish(device.topic("state"), b"%d" % number, qos=qos, number=number + 1) for number in range(count)
    )
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key).subscribe(device.topic("state"))
        wire.enter(device).send(messages + DISCONNECT)
        wire.stream.end()
        assert [int(message.payload) for message in backend.hear(count)] == list(range(count))


def test_sent_with_the_connect_and_closed(fleet: Fleet, backend_key: Credentials) -> None:
    """CONNECT, messages, DISCONNECT and the end of the connection in one write, with a secret not seen before."""
    device = fleet.device()
    messages = b"".join(publish(device.topic("state"), b"%d" % number) for number in range(MANY))
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(backend_key).subscribe(device.topic("state"))
        wire.send(connect(device.client_id, username=device.key, password=device.secret) + messages + DISCONNECT)
        wire.stream.end()
        assert [int(message.payload) for message in backend.hear(MANY)] == list(range(MANY))


@BOTH_TRANSPORTS
def test_disconnect_ends_what_comes_after_it(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Nothing behind a DISCONNECT counts, and no will goes out (3.14.4-1, 3.14.4-3)."""
    device = fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(backend_key).subscribe(device.topic("#"))
        wire.enter(device, will=Will(device.topic("gone"), b"gone"))
        wire.send(publish(device.topic("a"), b"before") + DISCONNECT + publish(device.topic("a"), b"after"))
        assert wire.is_closed_by_broker()
        assert [message.payload for message in backend.publications()] == [b"before"]


@BOTH_TRANSPORTS
@pytest.mark.parametrize("sent", [0, 1, 2])
def test_delivery_qos(fleet: Fleet, backend_key: Credentials, sent: int, *, websocket: bool) -> None:
    """The lower of what was published and what was granted; of several filters, the highest grant (3.3.5-1)."""
    device = fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device)
        for granted in (0, 1, 2):
            assert wire.subscribe(device.topic(f"a/{granted}"), qos=granted) == [granted]
            wire.subscribe(device.topic("b"), device.topic("+"), qos=granted)
        backend.enter(backend_key)
        for granted in (0, 1, 2):
            backend.publish(device.topic(f"a/{granted}"), qos=sent)
        backend.publish(device.topic("b"), qos=sent)
        heard = wire.hear(4)
        assert [message.qos for message in heard] == [0, min(sent, 1), sent, sent]
        assert not any(message.retain or message.dup for message in heard)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order_of_two_publishers(fleet: Fleet, backend_key: Credentials, qos: int, *, websocket: bool) -> None:
    """Each publisher's messages come in the order in which it sent them, through a window much narrower than they."""
    devices = [fleet.device(), fleet.device()]
    with Wire.to(fleet, websocket=websocket) as backend, Wire.to(fleet) as one, Wire.to(fleet) as two:
        backend.enter(backend_key).subscribe(*(device.topic("state") for device in devices), qos=qos)
        for wire, device in zip((one, two), devices, strict=True):
            wire.enter(device)
        for number in range(0, MANY, 50):
            for wire, device in zip((one, two), devices, strict=True):
                wire.send(
                    b"".join(
                        publish(device.topic("state"), b"%d" % n, qos=min(qos, 1), number=n + 1)
                        for n in range(number, number + 50)
                    )
                )
        heard = backend.hear(2 * MANY)
        for device in devices:
            own = [int(message.payload) for message in heard if message.topic == device.topic("state")]
            assert own == list(range(MANY))


@BOTH_TRANSPORTS
def test_acknowledged_is_delivered(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """Every message with a PUBACK comes to who is there and to who comes back, though its publisher was cut off."""
    device = fleet.device()
    away = fleet.application()
    with Wire.to(fleet) as wire:
        wire.enter(away, clean=False).subscribe(device.topic("state"), qos=1)
        wire.disconnect()
    acknowledged = set()
    with Wire.to(fleet, websocket=websocket) as backend:
        backend.enter(backend_key).subscribe(device.topic("state"), qos=1)
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device)
            wire.send(b"".join(publish(device.topic("state"), b"%d" % n, qos=1, number=n + 1) for n in range(MANY)))
            for _ in range(MANY // 2):
                acknowledged.add(int.from_bytes(wire.receive(Kind.PUBACK).body, "big") - 1)
        assert len(acknowledged) == MANY // 2
        heard = [int(message.payload) for message in backend.hear(MANY, seconds=2)]
        assert heard == list(range(len(heard)))
        assert acknowledged <= set(heard)
    with Wire.to(fleet) as wire:
        wire.enter(away, clean=False)
        assert [int(message.payload) for message in wire.hear(len(heard))] == heard


@in_turn("websocket", [False, True])
@pytest.mark.parametrize("storm", ["receiver", "sender", "both"])
def test_exactly_once_through_lost_connections(fleet: Fleet, storm: str, *, websocket: bool) -> None:
    """Whoever loses its connection, at whatever point of the handshake: each message once, in order."""
    device, away = fleet.device(), fleet.application()
    payloads = [b"%d" % number for number in range(60)]
    chance = random.Random(f"{storm} {websocket}")
    topic = device.topic("state")
    receiver = Receiver(fleet, away, topic, websocket=websocket)
    sender = Sender(fleet, device, topic, payloads, websocket=websocket)
    with closing(receiver), closing(sender):
        for _ in range(2_000):
            sender.step(chance, 0.2 if storm != "receiver" else 0.0)
            receiver.take(chance, 0.15 if storm != "sender" else 0.0)
            if sender.is_done and len(receiver.delivered) >= len(payloads):
                break
        assert sender.is_done
        for _ in range(2):
            receiver.take()
        assert receiver.delivered == payloads
