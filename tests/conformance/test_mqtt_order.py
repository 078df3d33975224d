"""Message ordering (4.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.packets import Kind, acknowledgement, number_of, publish
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.versions import EACH_VERSION
from tests.support.wire_clients import EVERYTHING, Clients

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.wire import Wire

pytestmark = EACH_VERSION


def _numbered(count: int, first: int = 0) -> list[bytes]:
    return [number.to_bytes(2, "big") for number in range(first, first + count)]


def _send(wire: Wire, topic: str, payloads: list[bytes], qos: int) -> None:
    """Publish without waiting in between, and finish the handshakes; at most 100 of QoS 2."""
    wire.send(*(publish(topic, payload, qos=qos, number=n + 1) for n, payload in enumerate(payloads)))
    answer = {1: Kind.PUBACK, 2: Kind.PUBREC}.get(qos)
    if answer is not None:
        assert [number_of(wire.receive(answer)) for _ in payloads] == list(range(1, len(payloads) + 1))
    if answer is Kind.PUBREC:
        wire.send(*(acknowledgement(Kind.PUBREL, n + 1) for n in range(len(payloads))))
        assert [number_of(wire.receive(Kind.PUBCOMP)) for _ in payloads] == list(range(1, len(payloads) + 1))
    wire.settle()


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order_of_a_publisher(mqtt: Clients, qos: int, granted: int) -> None:
    """What one client publishes to a topic, every subscriber gets in that order (4.6.0-5, 4.6.0-6).

    MQTT 5: 4.6.0-5, 4.6.0-6.
    """
    topic = mqtt.topic("x")
    subscribers = [mqtt.subscriber(f, qos=granted) for f in (topic, mqtt.topic("+"), mqtt.topic("#"))]
    expected = _numbered(90)
    _send(mqtt.connect(), topic, expected, qos)
    for wire in subscribers:
        assert [wire.delivery().payload for _ in expected] == expected


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order_of_each_of_many_publishers(mqtt: Clients, qos: int) -> None:
    """With many publishers the order of each holds (4.6.0-6; MQTT 5: 4.6.0-5)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=qos)
    publishers = [mqtt.connect() for _ in range(5)]
    for number, payload in enumerate(_numbered(40)):
        for index, publisher in enumerate(publishers):
            publisher.send(publish(topic, bytes([index]) + payload, qos=qos, number=number + 1))
    got = [wire.delivery().payload for _ in range(200)]
    for index in range(5):
        assert [payload[1:] for payload in got if payload[0] == index] == _numbered(40)


@pytest.mark.parametrize("qos", [1, 2])
def test_order_across_absence(mqtt: Clients, qos: int) -> None:
    """What was sent, what waited and what comes live after the return are in order, over many absences (4.6.0-6).

    MQTT 5: 4.6.0-6.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    publisher, seen = mqtt.connect(), []
    mqtt.subscriber(topic, qos=qos, client_id=name, clean=False).disconnect()
    for turn in range(4):
        _send(publisher, topic, _numbered(50, 100 * turn), qos)
        wire = mqtt.connect(name, clean=False)
        seen += [wire.delivery().payload for _ in range(20)]
        _send(publisher, topic, _numbered(50, 100 * turn + 50), qos)
        seen += [wire.delivery().payload for _ in range(70)]
        wire.settle()
        wire.drop()
    wire = mqtt.connect(name, clean=False)
    seen += [wire.delivery().payload for _ in range(40)]
    assert sorted(set(seen)) == _numbered(400)
    assert list(dict.fromkeys(seen)) == _numbered(400)
    if qos == 2:
        assert seen == _numbered(400)


def test_order_with_a_large_window(tmp_path: Path) -> None:
    """What waited comes before what is published during the return, however much may be under way (4.6.0-6).

    MQTT 5: 4.6.0-6.
    """
    environment = {**NO_LIMITS, "FLEETKEY_MQTT__MAX_INFLIGHT": "5000"}
    with ServerProcess(tmp_path / "server", environment=environment) as server:
        fleet = Fleet(server)
        with Clients(fleet, fleet.application(**EVERYTHING)) as mqtt:
            topic, name = mqtt.topic("x"), mqtt.name()
            publisher = mqtt.connect()
            mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
            _send(publisher, topic, _numbered(900), 1)
            wire = mqtt.open()
            wire.send(mqtt.hello(name, clean=False))
            _send(publisher, topic, _numbered(600, 900), 1)
            assert wire.read() is not None
            assert [wire.delivery().payload for _ in range(1500)] == _numbered(1500)


@pytest.mark.parametrize("qos", [1, 2])
def test_order_of_redeliveries(mqtt: Clients, qos: int) -> None:
    """What is sent again comes in the order in which it was sent first, before what waits (4.6.0-1).

    MQTT 5: 4.6.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=qos, client_id=name, clean=False)
    publisher = mqtt.connect()
    _send(publisher, topic, _numbered(80), qos)
    sent = wire.publications()
    assert [got.payload for got in sent] == _numbered(len(sent))
    done = sent[3::4]
    for got in reversed(done):
        wire.acknowledge(got)
    wire.settle()
    wire.drop()
    left = [payload for payload in _numbered(80) if payload not in {got.payload for got in done}]
    wire = mqtt.connect(name, clean=False)
    again = [wire.delivery() for _ in left]
    assert [got.payload for got in again] == left
    assert [got.number for got in again if got.dup][: len(sent) - len(done)] == [
        got.number for got in sent if got not in done
    ]
    assert wire.publications() == []


def test_order_of_redeliveries_of_both_qos(mqtt: Clients) -> None:
    """The order of first sending holds across QoS 1 and 2, also where packet ids don't grow any more (4.6.0-1).

    MQTT 5: 4.6.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire, publisher = mqtt.subscriber(topic, qos=2, client_id=name, clean=False), mqtt.connect()
    for number in range(20):
        publisher.publish(topic, bytes([number]), qos=1 + number % 2)
    first = wire.publications()
    for _ in range(2):
        wire.drop()
        wire = mqtt.connect(name, clean=False)
        again = wire.publications()
        assert [(got.number, got.payload, got.qos) for got in again] == [
            (got.number, got.payload, got.qos) for got in first
        ]


def test_order_of_acknowledgements(mqtt: Clients) -> None:
    """PUBACK and PUBREC come in the order of their PUBLISHes, though some wait for a commit (4.6.0-2, 4.6.0-3).

    MQTT 5: 4.6.0-2, 4.6.0-3.
    """
    kept, live = mqtt.topic("kept"), mqtt.topic("live")
    mqtt.subscriber(kept, qos=2, client_id=mqtt.name(), clean=False).disconnect()
    wire = mqtt.connect(mqtt.name(), clean=False)
    numbers = list(range(1, 91))
    wire.send(
        *(publish(kept if n % 3 else live, qos=1 + n // 2 % 2, number=n, retain=not n % 7) for n in numbers),
    )
    answers = [wire.read() for _ in numbers]
    assert [(got.kind, number_of(got)) for got in answers if got] == [
        (Kind.PUBREC if n // 2 % 2 else Kind.PUBACK, n) for n in numbers
    ]


def test_order_of_pubrels(mqtt: Clients) -> None:
    """PUBRELs come in the order of their PUBRECs, whatever that is (4.6.0-4, 4.6.0-6; MQTT 5: 4.6.0-4)."""
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=2), mqtt.connect()
    for _ in range(20):
        publisher.publish(topic, qos=2)
    numbers = [got.number for got in wire.publications()]
    shuffled = numbers[1::2] + numbers[::2][::-1]
    wire.send(*(acknowledgement(Kind.PUBREC, number) for number in shuffled))
    assert [number_of(wire.receive(Kind.PUBREL)) for _ in shuffled] == shuffled


@pytest.mark.parametrize("qos", [0, 1])
def test_retained_message_after_a_newer_one(mqtt: Clients, qos: int) -> None:
    """A retained message never comes after a newer one of its publisher and topic: the last to come is the last sent.

    The subscriber is owed more retained messages than may be under way at once, and the publisher goes on meanwhile
    (4.6.0-6).
    MQTT 5: 4.6.0-6.
    """
    publisher = mqtt.connect(key=mqtt.fleet.application(**EVERYTHING))
    for number in range(60):
        publisher.publish(mqtt.topic(f"fill/{number:02}"), qos=1, retain=True)
    topics = [mqtt.topic(f"x/{number:02}") for number in range(30)]
    for topic in topics:
        publisher.publish(topic, b"older", qos=qos, retain=True)
    wire = mqtt.connect()
    wire.subscribe(mqtt.topic("fill/#"), mqtt.topic("x/#"), qos=1)
    for topic in topics:
        publisher.publish(topic, b"newer", qos=qos, retain=True)
    last: dict[str, bytes] = {}
    wire.settle()
    while any(got.kind == Kind.PUBLISH for got in wire.inbox):
        message = wire.delivery()
        last[message.topic] = message.payload
        wire.settle()
    assert {topic: last[topic] for topic in topics} == dict.fromkeys(topics, b"newer")
