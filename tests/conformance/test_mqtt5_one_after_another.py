"""A stream of QoS 0 messages to one topic, each sent by itself: every receiver gets each as its connection wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, publish, text
from tests.support.properties import Name, prop
from tests.support.versions import EACH_VERSION, LEVEL_3_1_1, LEVEL_5, speaking

if TYPE_CHECKING:
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

COUNT = 5
NO_LOCAL, AS_PUBLISHED = 0x04, 0x08


def _receivers(mqtt: Clients, topic: str) -> dict[str, Wire]:
    """Return subscribers of each kind."""
    with speaking(LEVEL_3_1_1):
        receivers = {"older": mqtt.subscriber(topic)}
    with speaking(LEVEL_5):
        receivers["plain"] = mqtt.subscriber(topic, qos=1)
        receivers["identifier"] = mqtt.connect()
        receivers["identifier"].subscribe(topic, properties=prop(Name.SUBSCRIPTION_IDENTIFIER, 8))
        receivers["alias"] = mqtt.connect(properties=prop(Name.TOPIC_ALIAS_MAXIMUM, 2))
        receivers["alias"].subscribe(topic)
        receivers["as_published"] = mqtt.connect()
        receivers["as_published"].subscribe(topic, options=AS_PUBLISHED)
        receivers["short"] = mqtt.connect(properties=prop(Name.MAXIMUM_PACKET_SIZE, 45))
        receivers["short"].subscribe(topic)
    return receivers


@EACH_VERSION
def test_stream(mqtt: Clients) -> None:
    """Each message arrives in each receiver's version, with its identifier and aliases, and no longer than it takes.

    MQTT 5: 3.1.2-24, 3.1.2-26, 3.1.2-27, 3.3.4-3.
    """
    topic = mqtt.topic("a/long/topic")
    receivers, publisher = _receivers(mqtt, topic), mqtt.connect()
    for number in range(COUNT):
        payload = bytes([number]) * (10 if number != 2 else 40)
        publisher.send(publish(topic, payload))
        expected = {
            "older": text(topic) + payload,
            "plain": text(topic) + b"\0" + payload,
            "identifier": text(topic) + b"\x02\x0b\x08" + payload,
            "alias": (text("") if number else text(topic)) + b"\x03\x23\0\x01" + payload,
            "as_published": text(topic) + b"\0" + payload,
            "short": text(topic) + b"\0" + payload,
        }
        for name, wire in receivers.items():
            if name == "short" and number == 2:
                continue
            got = wire.receive(Kind.PUBLISH)
            assert (name, got.flags, got.body) == (name, 0, expected[name])
    for wire in receivers.values():
        assert wire.publications() == []


@pytest.mark.usefixtures("mqtt_5")
def test_own_messages(mqtt: Clients) -> None:
    """A publisher that doesn't want its own messages gets none of the stream; others do (3.3.4-1)."""
    topic = mqtt.topic("x")
    witness, wire = mqtt.subscriber(topic), mqtt.connect()
    wire.subscribe(topic, options=NO_LOCAL)
    for number in range(COUNT):
        wire.send(publish(topic, bytes([number])))
        assert witness.publication().payload == bytes([number])
    assert wire.publications() == []


@pytest.mark.usefixtures("mqtt_5")
def test_stream_with_changes(mqtt: Clients) -> None:
    """A message with properties, an alias, a QoS or the retain flag in between is handled as what it is (3.3.2-17)."""
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=1), mqtt.connect()
    user, alias = prop(Name.USER_PROPERTY, ("k", "v")), prop(Name.TOPIC_ALIAS, 1)
    sent = [
        (publish(topic, b"1"), 0),
        (publish(topic, b"2"), 0),
        (publish(topic, b"3", properties=user), 0),
        (publish(topic, b"4"), 0),
        (publish(topic, b"5", properties=alias), 0),
        (publish("", b"6", properties=alias), 0),
        (publish("", b"7", properties=alias), 0),
        (publish(topic, b"8"), 0),
        (publish(topic, b"9", qos=1, number=7), 1),
        (publish(topic, b"10"), 0),
        (publish(topic, b"11", retain=True), 0),
        (publish(topic, b"12"), 0),
    ]
    for number, (packet, qos) in enumerate(sent, 1):
        publisher.send(packet)
        got = wire.publication()
        expected = ((Name.USER_PROPERTY, ("k", "v")),) if number == 3 else ()
        assert (got.topic, got.payload, got.qos, got.properties) == (topic, str(number).encode(), qos, expected)
    assert mqtt.retained(topic) == [(topic, b"11", 0)]
