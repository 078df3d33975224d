"""What goes with a message in MQTT 5 (3.3.2.3): passed on as it came, to everyone who gets the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, publish, text
from tests.support.properties import Name, Value, prop
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, speaking

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

PROTOCOL_ERROR = 0x82
USERS = [("b", "2"), ("a", "1"), ("b", "2"), ("", ""), ("b", "1"), ("caf\u00e9", "\U0001f600")]
EVERY: list[tuple[int, Value]] = [
    (Name.PAYLOAD_FORMAT, 1),
    (Name.CONTENT_TYPE, "application/json"),
    (Name.RESPONSE_TOPIC, "answers/here"),
    (Name.CORRELATION_DATA, bytes(range(256))),
    *((Name.USER_PROPERTY, each) for each in USERS),
]
SETS: dict[str, list[tuple[int, Value]]] = {
    "payload_format_0": [(Name.PAYLOAD_FORMAT, 0)],
    "payload_format_1": [(Name.PAYLOAD_FORMAT, 1)],
    "content_type": [(Name.CONTENT_TYPE, "text/plain; charset=utf-8")],
    "empty_content_type": [(Name.CONTENT_TYPE, "")],
    "response_topic": [(Name.RESPONSE_TOPIC, "a/b")],
    "correlation_data": [(Name.CORRELATION_DATA, b"\x00\xff\xfe")],
    "empty_correlation_data": [(Name.CORRELATION_DATA, b"")],
    "user_properties": [(Name.USER_PROPERTY, each) for each in USERS],
    "every": EVERY,
    "every_the_other_way_round": EVERY[::-1],
}


def _encoded(properties: list[tuple[int, Value]]) -> bytes:
    return b"".join(prop(*each) for each in properties)


@pytest.mark.parametrize("sent", SETS.values(), ids=SETS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_passed_on(mqtt: Clients, qos: int, sent: list[tuple[int, Value]]) -> None:
    """Each goes to every receiver unaltered: live, waiting, retained, shared; user properties in their order.

    3.3.2-4, 3.3.2-15, 3.3.2-16, 3.3.2-17, 3.3.2-18, 3.3.2-20.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    live = [mqtt.subscriber(topic, qos=granted) for granted in range(3)]
    live.append(mqtt.subscriber(mqtt.topic("+"), f"$share/group/{topic}", qos=1))
    mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
    mqtt.send(topic, qos=qos, retain=True, properties=_encoded(sent))
    late = mqtt.subscriber(topic, qos=2)
    for wire in [*live, late]:
        assert list(wire.publication().properties) == sent
    assert list(live[-1].publication().properties) == sent
    waited = mqtt.connect(name, clean=False).publications()
    assert [list(got.properties) for got in waited] == ([sent] if qos else [])


def test_sent_again(mqtt: Clients) -> None:
    """What is sent again has the same properties (3.3.2-17, 3.3.2-18)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    mqtt.send(topic, qos=2, properties=_encoded(EVERY))
    for is_again in False, True:
        got = wire.publication()
        assert (list(got.properties), got.dup) == (EVERY, is_again)
        wire.drop()
        wire = mqtt.connect(name, clean=False)


def test_none(mqtt: Clients) -> None:
    """A message without properties comes without any, also after one that had some (3.3.2-17)."""
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=1), mqtt.connect()
    for qos in 0, 1:
        for properties in _encoded(EVERY), b"":
            publisher.publish(topic, qos=qos, properties=properties)
    assert [bool(got.properties) for got in wire.publications()] == [True, False, True, False]


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\xed\xa0\x80", b"\x00"])
def test_payload_that_is_no_text(mqtt: Clients, payload: bytes) -> None:
    """The server doesn't look at payloads: the indicator is passed on even where it isn't true (3.3.2-4)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic)
    wire.publish(topic, payload, properties=prop(Name.PAYLOAD_FORMAT, 1))
    got = wire.publication()
    assert (got.payload, got.properties) == (payload, ((Name.PAYLOAD_FORMAT, 1),))


def test_payload_format_that_there_is_not(mqtt: Clients) -> None:
    """An indicator other than 0 and 1 is a protocol error (3.3.2.3.2)."""
    wire = mqtt.connect()
    wire.send(publish(mqtt.topic("x"), properties=prop(Name.PAYLOAD_FORMAT, 2)))
    assert wire.is_closed_for(PROTOCOL_ERROR)


@pytest.mark.parametrize("topic", ["+", "#", "a/+", "a/#", "a+"])
def test_response_topic_with_a_wildcard(mqtt: Clients, topic: str) -> None:
    """A response topic with a wildcard is refused, and nobody gets the message (3.3.2-14)."""
    witness, wire = mqtt.subscriber(mqtt.topic("x")), mqtt.connect()
    wire.send(publish(mqtt.topic("x"), properties=prop(Name.RESPONSE_TOPIC, topic)))
    assert wire.is_closed_for(PROTOCOL_ERROR)
    assert witness.publications() == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_receivers_of_another_version(mqtt: Clients, qos: int) -> None:
    """A receiver of MQTT 3.1.1 gets the message without its properties, and the other way round (3.3.4)."""
    topic = mqtt.topic("x")
    with speaking(LEVEL_3_1_1):
        older = mqtt.subscriber(topic, qos=qos)
    newer, publisher = mqtt.subscriber(topic, qos=qos), mqtt.connect()
    publisher.publish(topic, b"new", qos=qos, properties=_encoded(EVERY))
    number = b"\0\x01" if qos else b""
    assert older.receive(Kind.PUBLISH).body == text(topic) + number + b"new"
    assert list(newer.publication().properties) == EVERY
    with speaking(LEVEL_3_1_1):
        mqtt.send(topic, b"old", qos=qos)
    assert newer.receive(Kind.PUBLISH).body == text(topic) + (b"\0\x02" if qos else b"") + b"\0old"
    assert (older.level, newer.level) == (LEVEL_3_1_1, LEVEL_5)


def test_topic_and_number_before_the_properties(mqtt: Clients) -> None:
    """The topic is the first field, then comes the packet id if there is one (3.3.2-1; without: 2.2.1-2)."""
    topic = mqtt.topic("caf\u00e9/\U0001f600/ x ")
    wire, properties = mqtt.subscriber(topic, qos=1), _encoded(EVERY)
    for qos in 1, 0:
        wire.send(publish(topic, b"\x00\x07payload", qos=qos, number=5, properties=properties))
        got = wire.receive(Kind.PUBLISH)
        head = text(topic) + (b"\0\x01" if qos else b"")
        assert got.body[: len(head)] == head
        assert got.body.endswith(properties + b"\x00\x07payload")
        assert len(got.body) == len(head) + 2 + len(properties) + 9
