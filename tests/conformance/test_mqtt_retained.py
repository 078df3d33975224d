"""Retained messages (3.3.1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, publish
from tests.support.versions import EACH_VERSION
from tests.support.wire_clients import EVERYTHING

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients


@EACH_VERSION
@pytest.mark.parametrize("requested", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained(mqtt: Clients, qos: int, requested: int) -> None:
    """A message is stored with its QoS and sent to each new subscriber, with the flag (3.3.1-5, 3.3.1-6, 3.3.1-8).

    MQTT 5: 3.3.1-5, 3.3.1-9.
    """
    topic = mqtt.topic("x")
    mqtt.send(topic, b"kept", qos=qos, retain=True)
    for _ in range(2):
        wire = mqtt.subscriber(topic, qos=requested)
        got = wire.publication()
        assert (got.topic, got.payload, got.qos) == (topic, b"kept", min(qos, requested))
        assert (got.retain, got.dup) == (True, False)
        wire.acknowledge(got)
        assert wire.publications() == []


@EACH_VERSION
@pytest.mark.parametrize("later", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_replaced(mqtt: Clients, qos: int, later: int) -> None:
    """A topic has one retained message: the last, with its own QoS; also one of QoS 0 replaces (3.3.1-5, 3.3.1-7).

    MQTT 5: 3.3.1-5.
    """
    topic = mqtt.topic("x")
    mqtt.send(topic, b"older", qos=qos, retain=True)
    mqtt.send(topic, b"newer", qos=later, retain=True)
    assert mqtt.retained(topic) == [(topic, b"newer", later)]


def test_last_of_each_topic(mqtt: Clients) -> None:
    """A new subscription is sent the last message of every topic that it matches, and no other (3.3.1-6)."""
    names = ["a", "a/b", "a/c", "a/b/c", "b", "a/b/", "a//b", "a/"]
    publisher = mqtt.connect()
    for turn in (b"1", b"2"):
        for name in names:
            publisher.publish(mqtt.topic(name), name.encode() + turn, qos=1, retain=True)
    expected = {
        "a": ["a"],
        "a/+": ["a/b", "a/c", "a/"],
        "a/#": ["a", "a/b", "a/c", "a/b/c", "a/b/", "a//b", "a/"],
        "+": ["a", "b"],
        "+/b": ["a/b"],
        "a/+/b": ["a//b"],
        "a/b/+": ["a/b/c", "a/b/"],
        "#": names,
        "c": [],
        "a/b/c/#": ["a/b/c"],
    }
    for topic_filter, matching in expected.items():
        got = mqtt.retained(mqtt.topic(topic_filter))
        assert got == sorted((mqtt.topic(name), f"{name}2".encode(), 1) for name in matching), topic_filter


@EACH_VERSION
def test_subscribed_again(mqtt: Clients) -> None:
    """A subscription that is made again is sent the retained message again (3.3.1-6, 3.8.4-3).

    MQTT 5: 3.3.1-9.
    """
    topic = mqtt.topic("x")
    mqtt.send(topic, b"kept", retain=True)
    wire = mqtt.connect()
    for qos in (0, 1, 0):
        wire.subscribe(topic, qos=qos)
        assert [(got.payload, got.retain) for got in wire.publications()] == [(b"kept", True)]


def test_resumed_session(mqtt: Clients) -> None:
    """A subscription that goes on is no new one: nothing retained comes with a resumed session (3.3.1-6)."""
    topic, name = mqtt.topic("x"), mqtt.name()
    mqtt.send(topic, b"kept", qos=1, retain=True)
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    wire.delivery()
    wire.disconnect()
    wire = mqtt.connect(name, clean=False)
    assert wire.is_session_present
    assert wire.publications() == []


@EACH_VERSION
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_established_subscription(mqtt: Clients, qos: int, granted: int) -> None:
    """Whoever had subscribed before gets a retained message without the flag, also later (3.3.1-9).

    MQTT 5: 3.3.1-12.
    """
    topic, name = mqtt.topic("x"), mqtt.name()
    live, away = mqtt.subscriber(topic, qos=granted), mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    away.disconnect()
    mqtt.send(topic, b"new", qos=qos, retain=True)
    got = live.publication()
    assert (got.payload, got.qos, got.retain) == (b"new", min(qos, granted), False)
    waited = mqtt.connect(name, clean=False).publications()
    assert [(message.payload, message.retain) for message in waited] == ([(b"new", False)] if qos else [])


@EACH_VERSION
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_empty_message(mqtt: Clients, qos: int) -> None:
    """An empty one removes what is retained, isn't stored, and reaches subscribers as usual (3.3.1-10, 3.3.1-11).

    MQTT 5: 3.3.1-6, 3.3.1-7.
    """
    topic, other = mqtt.topic("x"), mqtt.topic("y")
    for name in (topic, other):
        mqtt.send(name, b"kept", qos=1, retain=True)
    live = mqtt.subscriber(topic, qos=2)
    live.delivery()
    mqtt.send(topic, b"", qos=qos, retain=True)
    got = live.delivery()
    assert (got.payload, got.qos, got.retain) == (b"", qos, False)
    assert mqtt.retained(mqtt.topic("#")) == [(other, b"kept", 1)]
    mqtt.send(topic, b"", qos=qos, retain=True)
    assert live.delivery().payload == b""
    assert mqtt.retained(mqtt.topic("#")) == [(other, b"kept", 1)]
    mqtt.send(topic, b"again", qos=qos, retain=True)
    assert mqtt.retained(topic) == [(topic, b"again", qos)]


@EACH_VERSION
@pytest.mark.parametrize("payload", [b"", b"live"], ids=["empty", "full"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_without_the_flag(mqtt: Clients, qos: int, payload: bytes) -> None:
    """Without the flag nothing is stored, removed or replaced (3.3.1-12).

    MQTT 5: 3.3.1-8.
    """
    topic, other = mqtt.topic("x"), mqtt.topic("y")
    mqtt.send(topic, b"kept", qos=1, retain=True)
    live = mqtt.subscriber(other, qos=2)
    for name in (topic, other):
        mqtt.send(name, payload, qos=qos)
    assert live.delivery().payload == payload
    assert mqtt.retained(mqtt.topic("#")) == [(topic, b"kept", 1)]


def test_retained_qos_2_twice(mqtt: Clients) -> None:
    """A QoS 2 message that is sent again before its PUBREL doesn't replace what was retained since (4.3.3-2)."""
    topic, wire = mqtt.topic("x"), mqtt.connect()
    wire.send(publish(topic, b"older", qos=2, number=4, retain=True))
    wire.receive(Kind.PUBREC)
    mqtt.send(topic, b"newer", qos=1, retain=True)
    wire.send(publish(topic, b"older", qos=2, number=4, retain=True, dup=True))
    wire.receive(Kind.PUBREC)
    wire.send(acknowledgement(Kind.PUBREL, 4))
    wire.receive(Kind.PUBCOMP)
    assert mqtt.retained(topic) == [(topic, b"newer", 1)]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_many_retained(mqtt: Clients, qos: int) -> None:
    """More retained messages than may be under way at once all come, each once, also after a reconnect (3.3.1-6)."""
    publisher = mqtt.connect(key=mqtt.fleet.application(**EVERYTHING))
    topics = {mqtt.topic(f"{number:02}") for number in range(60)}
    for topic in topics:
        publisher.publish(topic, topic.encode(), qos=qos, retain=True)
    name = mqtt.name()
    wire = mqtt.subscriber(mqtt.topic("#"), qos=2, client_id=name, clean=False)
    got = [wire.delivery() for _ in range(10)]
    wire.settle()
    wire.drop()
    wire = mqtt.connect(name, clean=False)
    got += [wire.delivery() for _ in range(len(topics) - 10 if qos else 0)]
    assert wire.publications() == []
    assert len({message.topic for message in got}) == len(got)
    assert all(message.retain for message in got)
    for topic in topics:
        publisher.publish(topic, b"", qos=qos, retain=True)
    assert mqtt.retained(mqtt.topic("#")) == []
