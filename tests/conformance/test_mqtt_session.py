"""Sessions: kept, resumed, discarded (3.1.2.4, 4.1, 4.5)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.packets import Kind, acknowledgement, number_of, publish
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.versions import EACH_VERSION
from tests.support.waiting import eventually
from tests.support.wire_clients import EVERYTHING, Clients

if TYPE_CHECKING:
    from pathlib import Path


@EACH_VERSION
def test_resumed_session(mqtt: Clients) -> None:
    """With CleanSession 0, subscriptions and what is under way go on where they were (3.1.2-4).

    MQTT 5: 3.1.2-5.
    """
    name, topics = mqtt.name(), [mqtt.topic("one"), mqtt.topic("two/+"), mqtt.topic("three/#")]
    wire = mqtt.connect(name, clean=False)
    for qos, topic in enumerate(topics):
        wire.subscribe(topic, qos=qos)
    wire.unsubscribe(topics[2])
    wire.subscribe(topics[2], qos=2)
    wire.disconnect()
    wire = mqtt.connect(name, clean=False)
    for topic in mqtt.topic("one"), mqtt.topic("two/x"), mqtt.topic("three/x/y"):
        wire.publish(topic, qos=2)
    got = [(message.topic, message.qos) for message in wire.publications()]
    assert got == [(mqtt.topic("one"), 0), (mqtt.topic("two/x"), 1), (mqtt.topic("three/x/y"), 2)]


@EACH_VERSION
@pytest.mark.parametrize("how", ["disconnect", "drop"])
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_while_away(mqtt: Clients, qos: int, how: str) -> None:
    """QoS 1 and 2 messages that match are stored for a client that is away, and come in order (3.1.2-5).

    MQTT 5: 3.1.2-23.
    """
    name, topic = mqtt.name(), mqtt.topic("x/+")
    wire = mqtt.subscriber(topic, qos=qos, client_id=name, clean=False)
    wire.disconnect() if how == "disconnect" else wire.drop()
    publisher = mqtt.connect()
    expected = []
    for number in range(50):
        publisher.publish(mqtt.topic(f"x/{number % 3}"), bytes([number]), qos=qos)
        publisher.publish(mqtt.topic("y"), b"other", qos=qos)
        expected.append(bytes([number]))
    wire = mqtt.connect(name, clean=False)
    got = [wire.delivery() for _ in expected]
    assert [message.payload for message in got] == expected
    assert {(message.qos, message.dup, message.retain) for message in got} == {(qos, False, False)}
    assert wire.publications() == []
    wire.disconnect()
    assert mqtt.connect(name, clean=False).publications() == [], "what was acknowledged came again"


@EACH_VERSION
def test_clean_session_discards(mqtt: Clients) -> None:
    """CleanSession 1 discards subscriptions, messages, handshakes; none of it comes back (3.1.2-6, 3.1.4-3).

    MQTT 5: 3.1.2-4, 3.1.4-4.
    """
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.send(publish(mqtt.topic("y"), qos=2, number=9))
    wire.receive(Kind.PUBREC)
    mqtt.send(topic, b"under way", qos=2)
    wire.receive(Kind.PUBLISH)
    wire.disconnect()
    mqtt.send(topic, b"waiting", qos=1)
    witness = mqtt.subscriber(mqtt.topic("y"), qos=2)
    wire = mqtt.connect(name)
    assert not wire.is_session_present
    wire.publish(topic, b"new", qos=1)
    assert wire.publications() == []
    wire.send(publish(mqtt.topic("y"), b"new", qos=2, number=9))
    wire.receive(Kind.PUBREC)
    assert witness.payloads() == [b"new"], "the old handshake was still there"
    wire.disconnect()
    wire = mqtt.connect(name, clean=False)
    assert not wire.is_session_present
    wire.publish(topic, b"newer", qos=1)
    assert wire.publications() == []


@pytest.mark.parametrize("how", ["disconnect", "drop", "take_over"])
def test_clean_session_ends_with_its_connection(mqtt: Clients, how: str) -> None:
    """A clean session lasts as long as its connection; the next one with that id has nothing of it (3.1.2-6)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=1, client_id=name)
    if how != "take_over":
        wire.disconnect() if how == "disconnect" else wire.drop()
        mqtt.send(topic, b"between", qos=1)
    wire = mqtt.connect(name, clean=False)
    assert not wire.is_session_present
    wire.publish(topic, b"after", qos=1)
    assert wire.publications() == []


def test_retained_messages_outlive_sessions(mqtt: Clients) -> None:
    """Retained messages belong to no session: they stay when their publisher's ends (3.1.2-7)."""
    name = mqtt.name()
    for number, clean in enumerate((True, False)):
        wire = mqtt.connect(name, clean=clean)
        wire.publish(mqtt.topic(str(number)), b"kept", qos=1, retain=True)
        wire.disconnect()
    mqtt.connect(name).disconnect()
    assert mqtt.retained(mqtt.topic("+")) == [(mqtt.topic("0"), b"kept", 1), (mqtt.topic("1"), b"kept", 1)]


@EACH_VERSION
def test_state_is_stored(mqtt: Clients) -> None:
    """Every part of the state outlives many connections: subscriptions, both directions of handshakes (4.1.0-1).

    MQTT 5: 3.1.2-23, 4.1.0-1.
    """
    name, topic, other = mqtt.name(), mqtt.topic("x"), mqtt.topic("y")
    witness = mqtt.subscriber(other, qos=2)
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.send(publish(other, b"from", qos=2, number=77))
    wire.receive(Kind.PUBREC)
    mqtt.send(topic, b"released", qos=2)
    mqtt.send(topic, b"sent", qos=2)
    released, sent = wire.publication().number, wire.publication().number
    wire.send(acknowledgement(Kind.PUBREC, released))
    wire.receive(Kind.PUBREL)
    for _ in range(3):
        wire.drop()
        wire = mqtt.connect(name, clean=False)
        assert wire.is_session_present
        assert number_of(wire.receive(Kind.PUBREL)) == released
        again = wire.publication()
        assert (again.number, again.payload, again.dup) == (sent, b"sent", True)
        wire.send(publish(other, b"from", qos=2, number=77, dup=True))
        assert number_of(wire.receive(Kind.PUBREC)) == 77
    assert witness.payloads() == [b"from"]


def test_message_for_every_session(mqtt: Clients) -> None:
    """A message that the server took is in the state of every client with a matching subscription (4.5.0-1)."""
    topic = mqtt.topic("a/b")
    filters = [topic, mqtt.topic("a/+"), mqtt.topic("#"), mqtt.topic("+/b")]
    away, here = [], []
    for topic_filter in filters:
        for qos in (1, 2):
            name = mqtt.name()
            mqtt.subscriber(topic_filter, qos=qos, client_id=name, clean=False).disconnect()
            away.append(name)
            here.append(mqtt.subscriber(topic_filter, qos=qos))
    others = [mqtt.subscriber(mqtt.topic(rest), qos=1) for rest in ("a", "a/b/c", "b", "+")]
    publisher = mqtt.connect()
    publisher.publish(topic, b"1", qos=2)
    publisher.publish(topic, b"2", qos=1)
    for wire in [*here, *(mqtt.connect(name, clean=False) for name in away)]:
        assert wire.payloads() == [b"1", b"2"]
    assert [wire.publications() for wire in others] == [[], [], [], []]


def test_session_outlives_its_expiry_while_connected(tmp_path: Path) -> None:
    """A session lasts at least as long as its connection, also with an expiry that is shorter (4.1.0-2)."""
    environment = {**NO_LIMITS, "FLEETKEY_MQTT__SESSION_EXPIRY_SECONDS": "1"}
    with ServerProcess(tmp_path / "server", environment=environment) as server:
        fleet = Fleet(server)
        with Clients(fleet, fleet.application(**EVERYTHING)) as mqtt:
            name, topic = mqtt.name(), mqtt.topic("x")
            mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
            kept, new, clean = mqtt.connect(name, clean=False), mqtt.connect(clean=False), mqtt.connect()
            assert kept.is_session_present
            for wire in new, clean:
                wire.subscribe(topic, qos=1)
            time.sleep(1.8)
            clean.publish(topic, b"1", qos=1)
            assert kept.payloads() == new.payloads() == clean.payloads() == [b"1"]
            kept.disconnect()
            kept = mqtt.connect(name, clean=False)
            assert kept.is_session_present
            kept.disconnect()
            assert eventually(lambda: "session_expired" in server.log.read_text())
            assert not mqtt.connect(name, clean=False).is_session_present
