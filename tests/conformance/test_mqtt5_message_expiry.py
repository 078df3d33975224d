"""The message expiry interval of MQTT 5 (3.3.2.3.3)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement
from tests.support.properties import Name, prop
from tests.support.versions import LEVEL_3_1_1, speaking

if TYPE_CHECKING:
    from tests.support.packets import Publication
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

EVER = 0xFFFF_FFFF


def _expiry(seconds: int) -> bytes:
    return prop(Name.MESSAGE_EXPIRY, seconds)


def _left(got: Publication) -> object:
    return dict(got.properties).get(Name.MESSAGE_EXPIRY)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_message_that_does_not_wait(mqtt: Clients, qos: int) -> None:
    """A message that is sent on at once has the interval with which it came (3.3.2-6)."""
    topic = mqtt.topic("x")
    live, publisher = [mqtt.subscriber(topic, qos=granted) for granted in range(3)], mqtt.connect()
    for seconds in 1, 60, 65_536:
        publisher.publish(topic, qos=qos, properties=_expiry(seconds))
        assert [_left(wire.delivery()) for wire in live] == [seconds] * 3


def test_message_without_an_interval(mqtt: Clients) -> None:
    """A message without one doesn't expire, and none is added (3.3.2-6)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=1)
    for qos in 0, 1:
        wire.publish(topic, qos=qos)
        assert wire.delivery().properties == ()


def test_messages_that_wait(mqtt: Clients) -> None:
    """While a message waits, its interval runs out: what is left is sent, and what has expired is deleted.

    For a client that is away, for one that takes no more at a time, and for a later subscriber: 3.3.2-5, 3.3.2-6.
    """
    topic, away, kept = mqtt.topic("x"), mqtt.name(), mqtt.topic("kept")
    mqtt.subscriber(topic, qos=2, client_id=away, clean=False).disconnect()
    busy = mqtt.connect(properties=prop(Name.RECEIVE_MAXIMUM, 1))
    busy.subscribe(topic, qos=2)
    publisher = mqtt.connect()
    publisher.publish(topic, b"first", qos=1)
    assert busy.publication().payload == b"first"
    for qos in 1, 2:
        publisher.publish(topic, b"short", qos=qos, properties=_expiry(1))
        publisher.publish(topic, b"long", qos=qos, properties=_expiry(100))
    for qos in range(3):
        publisher.publish(f"{kept}/short/{qos}", b"short", qos=qos, retain=True, properties=_expiry(1))
        publisher.publish(f"{kept}/long/{qos}", b"long", qos=qos, retain=True, properties=_expiry(100))
    time.sleep(1.1)
    busy.send(acknowledgement(Kind.PUBACK, 1))
    late = mqtt.subscriber(f"{kept}/#", qos=2)
    back = mqtt.connect(away, clean=False)
    got = [back.delivery() for _ in range(3)], [busy.delivery() for _ in range(2)], [late.delivery() for _ in range(3)]
    assert [each.payload for each in got[0]] == [b"first", b"long", b"long"]
    assert [each.payload for each in (*got[1], *got[2])] == [b"long"] * 5
    left = [_left(each) for each in (*got[0][1:], *got[1], *got[2])]
    assert {*left} <= {97, 98, 99}
    assert back.publications() == busy.publications() == late.publications() == []


def test_expired_retained_message(mqtt: Clients) -> None:
    """A retained message that has expired is there for nobody, of whatever version (3.3.2-5)."""
    topic = mqtt.topic("x")
    for qos in 0, 1:
        mqtt.send(topic, qos=qos, retain=True, properties=_expiry(1))
        assert mqtt.retained(topic) == [(topic, b"x", qos)]
    time.sleep(1.1)
    assert mqtt.retained(topic) == []
    with speaking(LEVEL_3_1_1):
        assert mqtt.retained(mqtt.topic("#")) == []


def test_interval_of_0(mqtt: Clients) -> None:
    """A message that expires at once may reach who is there, and waits for nobody (3.3.2-5)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
    mqtt.send(topic, qos=1, retain=True, properties=_expiry(0))
    assert mqtt.connect(name, clean=False).publications() == []
    assert mqtt.retained(topic) == []


def test_longest_interval(mqtt: Clients) -> None:
    """The longest interval there is works as well: it is sent on, or the longest that the server keeps (3.3.2-6)."""
    topic = mqtt.topic("x")
    wire = mqtt.subscriber(topic)
    mqtt.send(topic, properties=_expiry(EVER))
    left = _left(wire.publication())
    assert isinstance(left, int)
    assert 0 < left <= EVER


@pytest.mark.parametrize("qos", [1, 2])
def test_message_whose_delivery_began(mqtt: Clients, qos: int) -> None:
    """What was sent before it expired is sent again when its client comes back (3.3.2-5 is about what waits)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    wire = mqtt.subscriber(topic, qos=qos, client_id=name, clean=False)
    mqtt.send(topic, b"begun", qos=qos, properties=_expiry(1))
    first = wire.publication()
    wire.drop()
    time.sleep(1.1)
    again = mqtt.connect(name, clean=False).publication()
    assert (again.payload, again.number, again.dup) == (b"begun", first.number, True)
