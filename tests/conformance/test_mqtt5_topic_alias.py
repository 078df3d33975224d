"""Topic aliases of MQTT 5 (3.3.2.3.4), in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will, publish
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.packets import Publication
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

MOST = 16
"""`[mqtt] max_topic_aliases`."""
PROTOCOL_ERROR, ALIAS_INVALID = 0x82, 0x94


def _alias(number: int) -> bytes:
    return prop(Name.TOPIC_ALIAS, number)


def _taking(mqtt: Clients, most: int | None, name: str | None = None, *, clean: bool = True) -> Wire:
    """Return a client that takes so many aliases."""
    properties = prop(Name.TOPIC_ALIAS_MAXIMUM, most) if most is not None else b""
    return mqtt.connect(name, clean=clean, properties=properties)


def _resolved(got: list[Publication]) -> list[str]:
    """Return the topics of messages, those behind an alias as well."""
    topics: dict[object, str] = {}
    for each in got:
        alias = dict(each.properties).get(Name.TOPIC_ALIAS)
        if alias is not None and each.topic:
            topics[alias] = each.topic
    return [each.topic or topics[dict(each.properties)[Name.TOPIC_ALIAS]] for each in got]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_alias(mqtt: Clients, qos: int) -> None:
    """Every alias up to the maximum that CONNACK has stands for its topic (3.3.2-12)."""
    witness, wire = mqtt.subscriber(mqtt.topic("+"), qos=qos), mqtt.connect()
    assert wire.terms[Name.TOPIC_ALIAS_MAXIMUM] == MOST
    topics = [mqtt.topic(str(number)) for number in range(MOST)]
    for number, topic in enumerate(topics):
        wire.publish(topic, b"first", qos=qos, properties=_alias(number + 1))
    for number in reversed(range(MOST)):
        wire.publish("", b"again", qos=qos, properties=_alias(number + 1))
    got = [witness.delivery() for _ in range(2 * MOST)]
    assert [each.topic for each in got] == topics + topics[::-1]
    assert all(each.properties == () for each in got), "an alias of the publisher's is no one else's"


def test_alias_that_is_given_to_another_topic(mqtt: Clients) -> None:
    """An alias stands for the topic with which it came last (3.3.2-12)."""
    witness, wire = mqtt.subscriber(mqtt.topic("+")), mqtt.connect()
    for topic in mqtt.topic("a"), "", mqtt.topic("b"), "", mqtt.topic("b"), "":
        wire.publish(topic, properties=_alias(MOST))
    assert [each.topic for each in witness.publications()] == [mqtt.topic("a")] * 2 + [mqtt.topic("b")] * 4


@pytest.mark.parametrize("number", [0, MOST + 1, 65_535])
@pytest.mark.parametrize("has_topic", [True, False])
def test_alias_out_of_bounds(mqtt: Clients, number: int, *, has_topic: bool) -> None:
    """0, and any above the maximum, closes the connection; nobody gets that message (3.3.2-8, 3.3.2-9, 3.2.2-17)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic), mqtt.connect()
    wire.send(publish(topic if has_topic else "", properties=_alias(number)))
    assert wire.is_closed_for(ALIAS_INVALID)
    assert witness.publications() == []


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_unknown_alias(mqtt: Clients, qos: int) -> None:
    """An alias that nothing was said about is a protocol error (3.3.4)."""
    wire = mqtt.connect()
    wire.publish(mqtt.topic("x"), qos=qos, properties=_alias(1))
    wire.send(publish("", qos=qos, properties=_alias(2)))
    assert wire.is_closed_for(PROTOCOL_ERROR)


def test_neither_topic_nor_alias(mqtt: Clients) -> None:
    """An empty topic without an alias is a protocol error (3.3.2.1)."""
    for properties in b"", prop(Name.CONTENT_TYPE, "x"):
        wire = mqtt.connect()
        wire.send(publish("", properties=properties))
        assert wire.is_closed_for(PROTOCOL_ERROR)


@pytest.mark.parametrize("how", ["drop", "disconnect", "take_over"])
def test_alias_of_an_earlier_connection(mqtt: Clients, how: str) -> None:
    """Aliases end with their connection, also if the session goes on (3.3.2-7)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    witness = mqtt.subscriber(topic)
    wire = mqtt.connect(name, clean=False)
    wire.publish(topic, properties=_alias(1))
    assert witness.publication().topic == topic
    if how != "take_over":
        wire.drop() if how == "drop" else wire.disconnect()
    wire = mqtt.connect(name, clean=False)
    assert wire.is_session_present
    wire.send(publish("", properties=_alias(1)))
    assert wire.is_closed_for(PROTOCOL_ERROR)
    assert witness.publications() == []


def test_alias_of_a_topic_that_is_refused(mqtt: Clients) -> None:
    """An alias is decided like its topic: it gets no message through (3.3.2-12)."""
    device, topic = mqtt.fleet.device(), mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic, device.topic("x")), mqtt.connect(device.client_id, key=device)
    for each in topic, "", device.topic("x"), "":
        wire.publish(each, properties=_alias(3))
    assert [each.topic for each in witness.publications()] == [device.topic("x")] * 2


@pytest.mark.parametrize("most", [None, 0])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_client_that_takes_no_alias(mqtt: Clients, most: int | None, qos: int) -> None:
    """Who doesn't say that it takes aliases, or takes 0, is sent none (3.1.2-27, 3.1.2-26)."""
    topic = mqtt.topic("a/long/topic")
    wire = _taking(mqtt, most)
    wire.subscribe(topic, qos=qos)
    for _ in range(3):
        wire.publish(topic, qos=qos)
    got = wire.publications()
    assert [(each.topic, each.properties) for each in got] == [(topic, ())] * 3


@pytest.mark.parametrize("most", [1, 3, MOST, 65_535])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_client_that_takes_aliases(mqtt: Clients, most: int, qos: int) -> None:
    """No alias is 0 or above what the client takes, and each stands for its topic (3.1.2-26, 3.3.2-11, 3.3.2-8)."""
    wire = _taking(mqtt, most)
    wire.subscribe(mqtt.topic("#"), qos=qos)
    topics = [mqtt.topic(f"a/long/topic/{number % 5}") for number in range(15)]
    publisher = mqtt.connect()
    for topic in topics:
        publisher.publish(topic, qos=qos)
    got = wire.publications()
    aliases = [each.properties[0][1] for each in got if each.properties]
    assert aliases
    assert {*aliases} <= {*range(1, min(most, 5) + 1)}
    assert _resolved(got) == topics
    assert any(not each.topic for each in got), "an alias saves its topic"


def test_alias_on_the_next_connection(mqtt: Clients) -> None:
    """A client that comes back is told every topic anew, also of what it is sent again (3.3.2-7)."""
    name, topic = mqtt.name(), mqtt.topic("a/long/topic")
    wire = _taking(mqtt, 5, name, clean=False)
    wire.subscribe(topic, qos=1)
    for payload in b"1", b"2":
        mqtt.send(topic, payload, qos=1)
    assert [each.topic for each in wire.publications()] == [topic, ""]
    wire.drop()
    for most in None, 5:
        wire = _taking(mqtt, most, name, clean=False)
        got = wire.publications()
        assert _resolved(got) == [topic] * 2
        assert got[0].topic == topic
        wire.drop()


def test_aliases_are_independent(mqtt: Clients) -> None:
    """The two directions have aliases of their own: the same number means another topic (3.3.2.3.4)."""
    wire = _taking(mqtt, 1)
    wire.subscribe(mqtt.topic("theirs"))
    mqtt.send(mqtt.topic("theirs"))
    assert wire.publication().properties == ((Name.TOPIC_ALIAS, 1),)
    wire.send(publish("", properties=_alias(1)))
    assert wire.is_closed_for(PROTOCOL_ERROR)


def test_will_and_retained_message_behind_an_alias(mqtt: Clients) -> None:
    """What is published through an alias is retained by its topic; a will is sent by its own (3.3.2-12)."""
    topic = mqtt.topic("x")
    wire = mqtt.connect(will=Will(mqtt.topic("will"), b"gone", retain=True))
    wire.publish(topic, b"1", properties=_alias(1))
    wire.publish("", b"2", qos=1, retain=True, properties=_alias(1))
    wire.drop()
    assert mqtt.retained(mqtt.topic("#")) == [(mqtt.topic("will"), b"gone", 0), (topic, b"2", 1)]
