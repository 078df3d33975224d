"""What amqtt's plugins see of a client of MQTT 5: the packet of 3.1.1 that means the same."""

from __future__ import annotations

import pytest

from fleetkey.broker.amqtt.older_packets import as_mqtt_3_1_1
from tests.support.packets import (
    Kind,
    Will,
    acknowledgement,
    connect,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)
from tests.support.properties import Name, as_properties, prop

USER = prop(Name.USER_PROPERTY, ("a", "b"))
NUMBER = b"\0\7"


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        (
            connect("c", "u", "p", level=5, properties=prop(Name.RECEIVE_MAXIMUM, 9) + USER),
            connect("c", "u", "p", level=4),
        ),
        (
            connect("c", "u", "p", level=5, will=Will("t", b"gone", 1, retain=True, properties=USER)),
            connect("c", "u", "p", level=4, will=Will("t", b"gone", 1, retain=True)),
        ),
        (packet(Kind.CONNACK, 0, b"\1\0" + as_properties(USER)), packet(Kind.CONNACK, 0, b"\1\0")),
        (packet(Kind.CONNACK, 0, b"\0\x87\0"), packet(Kind.CONNACK, 0, b"\0\5")),
        (publish("t", b"x", level=5, properties=USER), publish("t", b"x", level=4)),
        (publish("t", b"x", qos=1, number=7, level=5), publish("t", b"x", qos=1, number=7, level=4)),
        (acknowledgement(Kind.PUBACK, 7, 0x87, USER), acknowledgement(Kind.PUBACK, 7)),
        (acknowledgement(Kind.PUBREL, 7), acknowledgement(Kind.PUBREL, 7)),
        (subscribe(7, ("a", 0x2D), ("b", 2), level=5, properties=USER), subscribe(7, ("a", 1), ("b", 2), level=4)),
        (unsubscribe(7, "a", "b", level=5), unsubscribe(7, "a", "b", level=4)),
        (packet(Kind.SUBACK, 0, NUMBER + b"\0\1\x87"), packet(Kind.SUBACK, 0, NUMBER + b"\1\x80")),
        (packet(Kind.UNSUBACK, 0, NUMBER + b"\0\0\x11"), packet(Kind.UNSUBACK, 0, NUMBER)),
        (packet(Kind.DISCONNECT, 0, b"\x98" + as_properties(USER)), packet(Kind.DISCONNECT, 0, b"")),
        (packet(Kind.PINGREQ, 0, b""), packet(Kind.PINGREQ, 0, b"")),
    ],
)
def test_as_older(newer: bytes, older: bytes) -> None:
    """Properties, options and reason codes are left out; what 3.1.1 has is there."""
    assert as_mqtt_3_1_1(newer, "5") == older


@pytest.mark.parametrize(
    "newer",
    [
        publish("", b"x", level=5, properties=prop(Name.TOPIC_ALIAS, 1)),
        packet(Kind.AUTH, 0, b"\x18\0"),
        packet(Kind.PUBLISH, 0, text("t") + b"\xff"),
        packet(Kind.SUBSCRIBE, 2, NUMBER + b"\0\0\5a"),
    ],
)
def test_without_older_form(newer: bytes) -> None:
    """Plugins aren't told of it."""
    assert as_mqtt_3_1_1(newer, "5") is None


def test_older_as_it_is() -> None:
    """A packet of 3.1.1 isn't touched, even one that could be read as one of 5."""
    for older in (publish("t", b"\0x", level=4), subscribe(1, ("a", 1), level=4), connect("c", "u", "p", level=4)):
        assert as_mqtt_3_1_1(older, "3.1.1") == older
