"""Shared subscriptions (4.8.2)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, subscribe
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

ANSWERS = {1: Kind.PUBACK, 2: Kind.PUBREC}


def _heard(*wires: Wire) -> list[list[bytes]]:
    return [[got.payload for got in wire.publications()] for wire in wires]


def _member(mqtt: Clients, name: str, topic_filter: str, qos: int) -> Wire:
    """Return a member whose session is kept."""
    return mqtt.subscriber(topic_filter, qos=qos, client_id=name, clean=False)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_one_of_the_members(mqtt: Clients, qos: int) -> None:
    """Each message goes to one member, spread evenly; every group, and every plain subscriber, gets one (4.8.2-1)."""
    topic = mqtt.topic("a")
    members = [mqtt.subscriber(f"$share/g/{mqtt.topic('+')}", qos=qos) for _ in range(4)]
    others = [mqtt.subscriber(each, qos=qos) for each in (f"$share/other/{mqtt.topic('+')}", topic)]
    publisher = mqtt.connect()
    sent = [bytes([number]) for number in range(40)]
    for payload in sent:
        publisher.publish(topic, payload, qos=qos)
    got = [wire.hear(10) for wire in members]
    assert sorted(message.payload for each in got for message in each) == sent
    assert _heard(*members) == [[]] * 4
    for wire in others:
        assert [message.payload for message in wire.hear(40)] == sent


@pytest.mark.parametrize("rest", ["", "/a", "g", "g/", "+/a", "#", "g#/a", "g+/a", "#/a", "g/a#", "g/#/a"])
def test_broken_filter(mqtt: Clients, rest: str) -> None:
    """A share name has at least one character, and none of `/`, `+` and `#`; a filter follows (4.8.2-1, 4.8.2-2)."""
    wire = mqtt.connect()
    wire.send(subscribe(1, (f"$share/{rest}", 1)))
    assert wire.is_closed_for(0x81)


@pytest.mark.parametrize("prefix", ["$share", "$SHARE/g/", "$shared/g/", "/$share/g/", "share/g/"])
def test_other_prefixes(mqtt: Clients, prefix: str) -> None:
    """Only `$share/` makes a subscription shared (4.8.2-1)."""
    wires = [mqtt.connect() for _ in range(2)]
    for wire in wires:
        wire.subscribe(prefix + mqtt.topic("a"))
    mqtt.send(mqtt.topic("a"))
    assert _heard(*wires) == [[], []]


def test_levels_of_the_filter(mqtt: Clients) -> None:
    """What follows the name is the filter, leading slash and all, and the name matters to nothing else (4.8.2-2)."""
    wire = mqtt.subscriber(f"$share/a b\u00e9$/{mqtt.topic('#')}", f"$share/g//{mqtt.root}")
    for topic in (mqtt.topic("x"), f"/{mqtt.root}", f"g/{mqtt.root}", f"$share/g/{mqtt.topic('x')}"):
        mqtt.send(topic, topic.encode())
    assert _heard(wire) == [[mqtt.topic("x").encode(), f"/{mqtt.root}".encode()]]


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
def test_qos_of_each_member(mqtt: Clients, granted: int, published: int) -> None:
    """A member gets no more than the QoS that it was granted, whatever the others were (4.8.2-3)."""
    topic = mqtt.topic("x")
    wires = {mqtt.subscriber(f"$share/g/{topic}", qos=qos): qos for qos in (granted, 1)}
    for _ in range(4):
        mqtt.send(topic, qos=published)
    for wire, qos in wires.items():
        assert [got.qos for got in wire.hear(2)] == [min(qos, published)] * 2


def test_no_retained_messages(mqtt: Clients) -> None:
    """No retained message is sent for a shared subscription, however often it is made (4.8.2-1)."""
    topic = mqtt.topic("x")
    mqtt.send(topic, b"kept", qos=1, retain=True)
    for handling in (0x00, 0x10):
        wire = mqtt.connect()
        for _ in range(2):
            wire.ask(subscribe(1, (f"$share/g/{topic}", 1 | handling)), Kind.SUBACK)
        assert wire.publications() == []
    mqtt.send(topic, b"", retain=True)


def test_identifier_and_options_of_each_member(mqtt: Clients) -> None:
    """The identifier and the options are those of the member that receives the message (4.8.2-3)."""
    topic = mqtt.topic("x")
    wires = {number: mqtt.connect() for number in (7, 8)}
    for number, wire in wires.items():
        options = 1 | (0x08 if number == 7 else 0)
        properties = prop(Name.SUBSCRIPTION_IDENTIFIER, number)
        wire.ask(subscribe(1, (f"$share/g/{topic}", options), properties=properties), Kind.SUBACK)
    for _ in range(4):
        mqtt.send(topic, b"x", retain=True)
    for number, wire in wires.items():
        assert [(got.properties, got.retain) for got in wire.publications()] == [
            (((Name.SUBSCRIPTION_IDENTIFIER, number),), number == 7)
        ] * 2
    mqtt.send(topic, b"", retain=True)


def test_joining_and_leaving(mqtt: Clients) -> None:
    """Joining twice counts once; who unsubscribed, or whose session ended, gets nothing more (4.8.2-1)."""
    topic = mqtt.topic("x")
    first, second, third = (mqtt.subscriber(f"$share/g/{topic}", qos=1) for _ in range(3))
    first.subscribe(f"$share/g/{topic}", qos=1)
    for number in range(6):
        mqtt.send(topic, bytes([number]), qos=1)
    assert [len(wire.hear(2)) for wire in (first, second, third)] == [2, 2, 2]
    first.unsubscribe(f"$share/g/{topic}")
    third.disconnect()
    for number in range(4):
        mqtt.send(topic, bytes([number]), qos=1)
    assert len(second.hear(4)) == 4
    assert _heard(first) == [[]]


@pytest.mark.parametrize("stage", ["published", "released"])
def test_delivery_that_began(mqtt: Clients, stage: str) -> None:
    """A QoS 2 message whose delivery began is completed with that member, and given to nobody else (4.8.2-4)."""
    topic, names = mqtt.topic("x"), [mqtt.name(), mqtt.name()]
    wires = {name: _member(mqtt, name, f"$share/g/{topic}", 2) for name in names}
    mqtt.send(topic, b"1", qos=2)
    for wire in wires.values():
        wire.settle()
    name = next(name for name, wire in wires.items() if wire.inbox)
    wire, other = wires[name], wires[names[name == names[0]]]
    number = wire.publication().number
    if stage == "released":
        wire.send(acknowledgement(Kind.PUBREC, number))
        wire.receive(Kind.PUBREL)
    wire.drop()
    assert other.publications() == []
    wire = mqtt.connect(name, clean=False)
    if stage == "published":
        again = wire.delivery()
        assert (again.number, again.payload, again.dup) == (number, b"1", True)
    else:
        assert number_of(wire.receive(Kind.PUBREL)) == number
    assert other.publications() == []


def test_session_that_ends_within_a_delivery(mqtt: Clients) -> None:
    """If that member's session ends instead, the QoS 2 message goes to no other (4.8.2-5)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = _member(mqtt, name, f"$share/g/{topic}", 2)
    mqtt.send(topic, b"1", qos=2)
    assert wire.publication().payload == b"1"
    other = mqtt.subscriber(f"$share/g/{topic}", qos=2)
    wire.drop()
    assert not mqtt.connect(name).is_session_present
    mqtt.send(topic, b"2", qos=2)
    assert [got.payload for got in other.hear(1)] == [b"2"]
    assert _heard(other) == [[]]


@pytest.mark.parametrize("qos", [1, 2])
def test_refused_by_a_member(mqtt: Clients, qos: int) -> None:
    """What a member refuses with 0x80 or more is discarded: no other member gets it (4.8.2-6)."""
    topic = mqtt.topic("x")
    wires = [mqtt.subscriber(f"$share/g/{topic}", qos=qos) for _ in range(3)]
    for number in range(6):
        mqtt.send(topic, bytes([number]), qos=qos)
    seen = Counter[bytes]()
    for wire in wires:
        for got in wire.hear(2, acknowledges=False):
            seen[got.payload] += 1
            wire.send(acknowledgement(ANSWERS[qos], got.number, 0x99))
        wire.settle()
    assert _heard(*wires) == [[]] * 3
    assert sorted(seen.items()) == [(bytes([number]), 1) for number in range(6)]


def test_members_away(mqtt: Clients) -> None:
    """Who is connected comes first; while nobody is, a kept session gets what has a QoS (4.8.2-3)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    _member(mqtt, name, f"$share/g/{topic}", 1).drop()
    other = mqtt.subscriber(f"$share/g/{topic}", qos=1)
    for number in range(4):
        mqtt.send(topic, bytes([number]), qos=1)
    assert len(other.hear(4)) == 4
    other.disconnect()
    mqtt.send(topic, b"lost", qos=0)
    mqtt.send(topic, b"waits", qos=1)
    wire = mqtt.connect(name, clean=False)
    assert wire.delivery().payload == b"waits"
    assert _heard(wire) == [[]]
