"""The receive maximum of MQTT 5, in both directions (3.3.4, 3.1.2.11.3, 3.2.2.3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import PINGREQ, Kind, acknowledgement, number_of, publish, subscribe, unsubscribe
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

MOST = 100
"""`[mqtt] max_unreleased`."""
EXCEEDED = 0x93
UNSPECIFIED = 0x80


def _taking(mqtt: Clients, most: int, topic: str, qos: int) -> Wire:
    wire = mqtt.connect(properties=prop(Name.RECEIVE_MAXIMUM, most))
    wire.subscribe(topic, qos=qos)
    return wire


@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_than_the_client_takes(mqtt: Clients, qos: int, most: int) -> None:
    """No more messages are under way than the client takes; each end of a handshake makes room for one.

    3.3.4-9, 4.9.0-1, 4.9.0-2.
    """
    topic = mqtt.topic("x")
    wire, publisher = _taking(mqtt, most, topic, qos), mqtt.connect()
    for number in range(8):
        publisher.publish(topic, bytes([number]), qos=qos)
    seen: list[bytes] = []
    under_way = wire.publications()
    assert len(under_way) == most
    while under_way:
        seen.append(under_way[0].payload)
        wire.acknowledge(under_way.pop(0))
        under_way += wire.publications()
        assert len(under_way) == min(most, 8 - len(seen))
    assert seen == [bytes([number]) for number in range(8)]


def test_pubrec_is_not_the_end(mqtt: Clients) -> None:
    """PUBREC makes no room, PUBCOMP does; and a PUBREC that refuses does, as it is the end (3.3.4-9, 4.9.0-2)."""
    topic = mqtt.topic("x")
    wire, publisher = _taking(mqtt, 1, topic, 2), mqtt.connect()
    for number in range(3):
        publisher.publish(topic, bytes([number]), qos=2)
    got = wire.publication()
    wire.send(acknowledgement(Kind.PUBREC, got.number))
    wire.receive(Kind.PUBREL)
    assert wire.publications() == []
    wire.send(acknowledgement(Kind.PUBCOMP, got.number))
    got = wire.publication()
    assert wire.publications() == []
    wire.send(acknowledgement(Kind.PUBREC, got.number, UNSPECIFIED))
    assert wire.publication().payload == b"\x02"


@pytest.mark.parametrize("qos", [1, 2])
def test_everything_else_goes_on(mqtt: Clients, qos: int) -> None:
    """At the maximum, all other packets are answered without delay, and QoS 0 is sent (3.3.4-10, 4.9.0-3)."""
    topic = mqtt.topic("x")
    wire = _taking(mqtt, 1, topic, qos)
    for _ in range(3):
        mqtt.send(topic, qos=qos)
    wire.publication()
    wire.send(
        subscribe(1, (mqtt.topic("y"), 0)),
        publish(mqtt.topic("y"), b"y"),
        unsubscribe(2, mqtt.topic("y")),
        publish(mqtt.topic("z"), qos=1, number=3),
        publish(mqtt.topic("z"), qos=2, number=4),
        acknowledgement(Kind.PUBREL, 4),
        PINGREQ,
    )
    wire.receive(Kind.PINGRESP)
    kinds = [got.kind for got in wire.inbox]
    assert kinds == [Kind.SUBACK, Kind.PUBLISH, Kind.UNSUBACK, Kind.PUBACK, Kind.PUBREC, Kind.PUBCOMP]
    assert wire.publication().payload == b"y"


def test_maximum_of_each_connection(mqtt: Clients) -> None:
    """The maximum is that of the connection: a session that comes back with a lower one is sent less.

    3.3.4-9, 4.9.0-1.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    publisher = mqtt.connect()
    for number in range(6):
        publisher.publish(topic, bytes([number]), qos=1)
    assert len(wire.publications()) == 6
    wire.drop()
    publisher.publish(topic, b"\x06", qos=1)
    wire = mqtt.connect(name, clean=False, properties=prop(Name.RECEIVE_MAXIMUM, 2))
    seen: list[bytes] = []
    while under_way := wire.publications():
        assert len(under_way) == min(2, 7 - len(seen))
        for got in under_way:
            seen.append(got.payload)
            wire.acknowledge(got)
    assert seen == [bytes([number]) for number in range(7)]
    wire.drop()
    for number in range(6):
        publisher.publish(topic, bytes([number]), qos=1)
    assert len(mqtt.connect(name, clean=False).publications()) == 6


def test_retained_messages_and_wills(mqtt: Clients) -> None:
    """Retained messages count like any other (3.3.4-9)."""
    for number in range(5):
        mqtt.send(mqtt.topic(str(number)), qos=1, retain=True)
    wire = _taking(mqtt, 2, mqtt.topic("#"), 1)
    for expected in 2, 2, 1, 0:
        got = wire.publications()
        assert len(got) == expected
        for each in got:
            wire.acknowledge(each)


def test_no_more_than_the_server_takes(mqtt: Clients) -> None:
    """The server says how many it takes; a client that has one more under way is disconnected (3.3.4-7)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic), mqtt.connect()
    assert wire.terms[Name.RECEIVE_MAXIMUM] == MOST
    wire.send(*(publish(topic, qos=2, number=number + 1) for number in range(MOST)))
    assert [number_of(wire.receive(Kind.PUBREC)) for _ in range(MOST)] == [*range(1, MOST + 1)]
    wire.send(publish(topic, qos=2, number=MOST, dup=True))
    assert number_of(wire.receive(Kind.PUBREC)) == MOST
    wire.send(acknowledgement(Kind.PUBREL, 1))
    wire.receive(Kind.PUBCOMP)
    wire.send(publish(topic, qos=2, number=1))
    wire.receive(Kind.PUBREC)
    witness.publications()
    wire.send(publish(topic, b"one more", qos=2, number=MOST + 1))
    assert wire.is_closed_for(EXCEEDED)
    assert witness.publications() == []


def test_refused_messages_do_not_count(mqtt: Clients) -> None:
    """A PUBREC that refuses ends the handshake, so any number of them may be sent (3.3.4-7)."""
    device = mqtt.fleet.device()
    wire = mqtt.connect(device.client_id, key=device)
    wire.send(*(publish(mqtt.topic("x"), qos=2, number=number + 1) for number in range(MOST + 10)))
    for _ in range(MOST + 10):
        wire.receive(Kind.PUBREC)
    wire.settle()
