"""Wills of MQTT 5 (3.1.2.5, 3.1.3.2): their delay and their properties."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, Will, packet
from tests.support.properties import Name, Value, as_properties, prop

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

FAR, NEAR = prop(Name.WILL_DELAY, 3600), prop(Name.WILL_DELAY, 1)
NOT_SOONER, NOT_LATER = 0.9, 5.0
"""Seconds in which a will with a delay of one second must be published."""
KEPT = prop(Name.SESSION_EXPIRY, 3600)
WITH_WILL = packet(Kind.DISCONNECT, 0, b"\x04")


@pytest.mark.parametrize("reason", [0x04, 0x80, 0x81, 0x95])
def test_disconnect_with_a_reason(mqtt: Clients, reason: int) -> None:
    """Only a DISCONNECT with 0x00 discards the will; after any other, it is published (3.1.2-8, 3.1.2-10)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    wire = mqtt.connect(will=Will(topic))
    wire.send(packet(Kind.DISCONNECT, 0, bytes([reason])))
    assert wire.is_closed_by_broker()
    assert not wire.inbox
    assert witness.publication().payload == b"gone"


@pytest.mark.parametrize("encoded", [b"", b"\0", b"\0\0", b"\0" + as_properties(prop(Name.REASON_STRING, "bye"))])
def test_normal_disconnect(mqtt: Clients, encoded: bytes) -> None:
    """However 0x00 is said, the will is discarded, also one with a delay (3.1.2-8, 3.1.2-10)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    for properties in b"", NEAR:
        wire = mqtt.connect(will=Will(topic, properties=properties), properties=KEPT)
        wire.send(packet(Kind.DISCONNECT, 0, encoded))
        assert wire.is_closed_by_broker()
    mqtt.connect(will=Will(topic, b"another's")).drop()
    assert witness.publication().payload == b"another's"
    assert witness.publications() == []


def test_delay(mqtt: Clients) -> None:
    """A will with a delay is published once that is over, and not sooner (3.1.2-8)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    wire = mqtt.connect(will=Will(topic, properties=NEAR), properties=KEPT)
    began = time.monotonic()
    wire.drop()
    assert witness.publication().payload == b"gone"
    assert NOT_SOONER <= time.monotonic() - began <= NOT_LATER


def test_session_that_ends_before_the_delay(mqtt: Clients) -> None:
    """A session that ends first publishes it then: at once if it isn't kept, or when it expires (3.1.2-8)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    mqtt.connect(will=Will(topic, b"at once", properties=FAR)).drop()
    assert witness.publication().payload == b"at once"
    expiring = mqtt.connect(will=Will(topic, b"expired", properties=FAR), properties=prop(Name.SESSION_EXPIRY, 1))
    began = time.monotonic()
    expiring.drop()
    assert witness.publication().payload == b"expired"
    assert NOT_SOONER <= time.monotonic() - began <= NOT_LATER


def test_client_that_comes_back(mqtt: Clients) -> None:
    """If the client comes back to its session before the delay is over, its will isn't sent (3.1.3-9, 3.1.2-8)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    for is_dropped in True, False:
        name = mqtt.name()
        wire = mqtt.connect(name, will=Will(topic, properties=NEAR), properties=KEPT)
        if is_dropped:
            wire.drop()
        else:
            wire.send(WITH_WILL)
            assert wire.is_closed_by_broker()
        assert mqtt.connect(name, clean=False).is_session_present
    mqtt.connect(mqtt.name(), will=Will(topic, b"another's", properties=NEAR), properties=KEPT).drop()
    assert witness.publication().payload == b"another's"
    assert witness.publications() == []


def test_clean_start_before_the_delay(mqtt: Clients) -> None:
    """If it begins a new session instead, its old one ends, and its will is sent at once (3.1.2-8)."""
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    mqtt.connect(name, will=Will(topic, properties=FAR), properties=KEPT).drop()
    assert witness.publications() == []
    mqtt.connect(name)
    assert witness.publication().payload == b"gone"


@pytest.mark.parametrize(("clean", "delay", "is_sent"), [(False, FAR, False), (False, b"", True), (True, FAR, True)])
def test_take_over(mqtt: Clients, delay: bytes, *, clean: bool, is_sent: bool) -> None:
    """A connection that is taken over sends its will, unless it has a delay and the session goes on (3.1.3-9)."""
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    old = mqtt.connect(name, clean=False, will=Will(topic, properties=delay))
    mqtt.connect(name, clean=clean)
    assert old.is_closed_by_broker()
    mqtt.connect(will=Will(topic, b"another's")).drop()
    assert witness.publication().payload == (b"gone" if is_sent else b"another's")


def test_will_is_sent_once(mqtt: Clients) -> None:
    """A will that was sent after its delay is gone: the session's end doesn't send it again (3.1.2-10)."""
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    mqtt.connect(name, will=Will(topic, properties=NEAR), properties=KEPT).drop()
    assert witness.publication().payload == b"gone"
    mqtt.connect(name)
    assert witness.publications() == []


@pytest.mark.parametrize(("qos", "delay"), [(0, b""), (1, b""), (2, b""), (2, NEAR)])
def test_properties_of_a_will(mqtt: Clients, qos: int, delay: bytes) -> None:
    """A will has its properties, user properties in their order, but not the delay (3.1.3-10, 3.1.2-8, 3.1.2-9)."""
    topic = mqtt.topic("will")
    sent: list[tuple[int, Value]] = [
        (Name.PAYLOAD_FORMAT, 1),
        (Name.USER_PROPERTY, ("b", "2")),
        (Name.CONTENT_TYPE, "text/plain"),
        (Name.USER_PROPERTY, ("a", "1")),
        (Name.RESPONSE_TOPIC, "answers"),
        (Name.USER_PROPERTY, ("b", "1")),
        (Name.CORRELATION_DATA, b"\x00\xff"),
        (Name.USER_PROPERTY, ("b", "2")),
    ]
    properties = b"".join(prop(*each) for each in sent) + delay
    witness = mqtt.subscriber(topic, qos=qos)
    mqtt.connect(will=Will(topic, b"gone", qos, properties=properties), properties=KEPT).drop()
    got = witness.publication()
    assert (got.payload, got.qos, list(got.properties)) == (b"gone", qos, sent)


def test_expiry_of_a_will(mqtt: Clients) -> None:
    """The message expiry interval of a will begins when it is published (3.1.3.2.4)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    properties = NEAR + prop(Name.MESSAGE_EXPIRY, 100)
    mqtt.connect(will=Will(topic, properties=properties), properties=KEPT).drop()
    assert dict(witness.publication().properties) == {Name.MESSAGE_EXPIRY: 100}


def test_retained_will(mqtt: Clients) -> None:
    """A delayed will that is to be retained is retained when it is sent, and not before (3.1.2-15)."""
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic)
    mqtt.connect(will=Will(topic, b"gone", 1, retain=True, properties=NEAR), properties=KEPT).drop()
    assert mqtt.retained(topic) == []
    assert not witness.publication().retain
    assert mqtt.retained(topic) == [(topic, b"gone", 1)]
