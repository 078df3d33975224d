"""The maximum packet size of a client of MQTT 5 (3.1.2.11.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, publish, subscribe, unsubscribe
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

PROTOCOL_ERROR = 0x82


def _taking(mqtt: Clients, most: int, *others: bytes, name: str | None = None) -> Wire:
    """Return a client that takes packets of so many bytes, whose session is kept if it has a name."""
    properties = prop(Name.MAXIMUM_PACKET_SIZE, most) + b"".join(others)
    return mqtt.connect(name, clean=name is None, properties=properties)


def _payload(topic: str, size: int, qos: int) -> bytes:
    """Return a payload with which a PUBLISH has so many bytes."""
    return bytes(size - len(publish(topic, bytes(60), qos=qos)) + 60)


@pytest.mark.parametrize("granted", [0, 1, 2])
def test_message_that_is_too_long(mqtt: Clients, granted: int) -> None:
    """A message that makes a longer packet than the client takes is dropped for it alone (3.1.2-24, 3.1.2-25)."""
    topic, most = mqtt.topic("x"), 100
    wire, other = _taking(mqtt, most), mqtt.subscriber(topic, qos=granted)
    wire.subscribe(topic, qos=granted)
    publisher = mqtt.connect()
    fitting, longer = _payload(topic, most, granted), _payload(topic, most + 1, granted)
    for payload in longer, fitting, longer, fitting:
        publisher.publish(topic, payload, qos=granted)
    got = [wire.delivery(), wire.delivery()]
    assert [each.payload for each in got] == [fitting] * 2
    assert wire.publications() == []
    assert [other.delivery().payload for _ in range(4)] == [longer, fitting, longer, fitting]


@pytest.mark.parametrize("added", ["identifier", "alias", "expiry"])
def test_what_the_server_adds_counts(mqtt: Clients, added: str) -> None:
    """What the server adds, or passes on, counts as well: no packet is longer (3.1.2-24)."""
    topic, most = mqtt.topic("a/long/topic"), 100
    wire = _taking(mqtt, most, prop(Name.TOPIC_ALIAS_MAXIMUM, 5) if added == "alias" else b"")
    wire.subscribe(topic, properties=prop(Name.SUBSCRIPTION_IDENTIFIER, 9) if added == "identifier" else b"")
    expiry = prop(Name.MESSAGE_EXPIRY, 60) if added == "expiry" else b""
    for size in range(most - 40, most + 60):
        wire.publish(topic, _payload(topic, size, 0), properties=expiry)
    sizes = [len(got.body) + 2 for got in wire.inbox if got.kind == Kind.PUBLISH]
    assert max(sizes) == most
    assert len(sizes) >= 30


@pytest.mark.parametrize("qos", [1, 2])
def test_it_is_as_if_it_had_been_sent(mqtt: Clients, qos: int) -> None:
    """A message that is dropped takes no place among those under way, and holds nothing up (3.1.2-25)."""
    topic = mqtt.topic("x")
    wire = _taking(mqtt, 200, prop(Name.RECEIVE_MAXIMUM, 1))
    wire.subscribe(topic, qos=qos)
    publisher = mqtt.connect()
    for number in range(5):
        publisher.publish(topic, bytes([number]), qos=qos)
        publisher.publish(topic, bytes(300), qos=qos)
    assert [wire.delivery().payload for _ in range(5)] == [bytes([number]) for number in range(5)]
    assert wire.publications() == []


def test_messages_that_waited(mqtt: Clients) -> None:
    """The same for what waited, what is sent again, and what is retained (3.1.2-24, 3.1.2-25)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    publisher = mqtt.connect()
    publisher.publish(topic, b"begun" * 60, qos=1)
    wire.publication()
    wire.drop()
    for payload in b"short", b"long" * 60, b"last":
        publisher.publish(topic, payload, qos=1, retain=True)
    publisher.publish(mqtt.topic("y"), b"long" * 60, qos=1, retain=True)
    wire = _taking(mqtt, 100, name=name)
    assert [wire.delivery().payload for _ in range(2)] == [b"short", b"last"]
    wire.subscribe(mqtt.topic("+"), qos=1)
    assert wire.delivery().payload == b"last"
    assert wire.publications() == []
    wire.disconnect()
    assert mqtt.connect(name, clean=False).publications() == [], "they were completed"


def test_answers_that_are_too_long(mqtt: Clients) -> None:
    """An answer that is longer isn't sent, but what it answers is done; all others are (3.1.2-24)."""
    wire = _taking(mqtt, 40)
    filters = [mqtt.topic(str(number)) for number in range(50)]
    wire.send(subscribe(1, *filters))
    wire.settle()
    assert not wire.inbox
    wire.publish(filters[49], b"y")
    assert wire.publication().payload == b"y"
    wire.send(unsubscribe(2, *filters))
    wire.settle()
    wire.publish(filters[49], b"z")
    assert not wire.inbox
    assert wire.subscribe(*filters[:30]) == [0] * 30


def test_reason_strings_that_are_too_long(mqtt: Clients) -> None:
    """An answer is sent without its reason string where that would make it too long (3.1.2-24)."""
    device = mqtt.fleet.device()
    properties = prop(Name.MAXIMUM_PACKET_SIZE, 30)
    wire = mqtt.connect(device.client_id, key=device, properties=properties)
    foreign = mqtt.topic("x")
    wire.send(publish(foreign, qos=1, number=1), publish(foreign, qos=2, number=2), subscribe(3, (foreign, 0)))
    wire.settle()
    assert [(got.kind, got.body) for got in wire.inbox] == [
        (Kind.PUBACK, b"\0\x01\x87"),
        (Kind.PUBREC, b"\0\x02\x87"),
        (Kind.SUBACK, b"\0\x03\0\x87"),
    ]


@pytest.mark.parametrize("most", [1, 2, 4, 5, 10, 15])
def test_client_that_does_not_even_take_a_connack(mqtt: Clients, most: int) -> None:
    """A client that takes less than its CONNACK is refused, and its session is forgotten (3.1.2-24)."""
    name = mqtt.name()
    wire = mqtt.open()
    wire.send(mqtt.hello(name, clean=False, properties=prop(Name.MAXIMUM_PACKET_SIZE, most)))
    assert wire.is_closed_by_broker()
    assert [got.body for got in wire.inbox] == ([bytes([0, PROTOCOL_ERROR, 0])] if most >= 5 else [])
    assert not mqtt.connect(name, clean=False).is_session_present
