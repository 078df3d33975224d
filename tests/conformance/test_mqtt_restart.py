"""The state of sessions when the server ends and starts again (4.1): a clean end, and a kill that nobody foresaw."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.measure import log_lines
from tests.support.packets import Kind, Will, acknowledgement, number_of, publish, subscribe
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients


def _restart(mqtt: Clients, how: str) -> None:
    server = mqtt.fleet.server
    if how == "kill":
        server.kill9()
        server.start()
    else:
        server.restart()


@pytest.fixture(params=["stop", "kill"])
def how(request: pytest.FixtureRequest) -> str:
    """Say how the server ends."""
    return str(request.param)


def test_every_part_of_a_session(mqtt: Clients, how: str) -> None:
    """Subscriptions, what waits, and handshakes of both directions in every stage are kept (4.1.0-1, 4.4.0-1)."""
    name, topic, other = mqtt.name(), mqtt.topic("x"), mqtt.topic("y")
    witness_name = mqtt.name()
    mqtt.subscriber(other, qos=2, client_id=witness_name, clean=False).disconnect()
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.subscribe(mqtt.topic("gone"), qos=1)
    wire.unsubscribe(mqtt.topic("gone"))
    for number in range(6):
        wire.publish(topic, bytes([number]), qos=1 + number % 2)
    sent = wire.publications()
    for got in sent[:2]:
        wire.acknowledge(got)
    wire.send(acknowledgement(Kind.PUBREC, sent[3].number))
    wire.receive(Kind.PUBREL)
    wire.send(publish(other, b"from", qos=2, number=77))
    wire.receive(Kind.PUBREC)
    wire.drop()
    mqtt.send(topic, b"waited", qos=2)
    _restart(mqtt, how)
    wire = mqtt.connect(name, clean=False)
    assert wire.is_session_present
    again = wire.publications()
    assert [(got.number, got.payload, got.qos, got.dup) for got in again[:-1]] == [
        (got.number, got.payload, got.qos, True) for got in (sent[2], sent[4], sent[5])
    ]
    assert (again[-1].payload, again[-1].dup) == (b"waited", False)
    assert number_of(wire.receive(Kind.PUBREL)) == sent[3].number
    wire.send(acknowledgement(Kind.PUBCOMP, sent[3].number))
    for got in again:
        wire.acknowledge(got)
    wire.send(publish(other, b"from", qos=2, number=77, dup=True))
    assert number_of(wire.receive(Kind.PUBREC)) == 77
    wire.send(acknowledgement(Kind.PUBREL, 77))
    assert number_of(wire.receive(Kind.PUBCOMP)) == 77
    wire.publish(mqtt.topic("gone"), qos=1)
    wire.publish(topic, b"live", qos=2)
    assert wire.payloads() == [b"live"]
    assert mqtt.connect(witness_name, clean=False).payloads() == [b"from"]


def test_clean_sessions(mqtt: Clients, how: str) -> None:
    """Of a clean session nothing is left (3.1.2-6)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=1, client_id=name)
    wire.publish(topic, qos=1)
    _restart(mqtt, how)
    wire = mqtt.connect(name, clean=False)
    assert not wire.is_session_present
    wire.publish(topic, qos=1)
    assert wire.publications() == []


def test_retained_messages(mqtt: Clients, how: str) -> None:
    """Retained messages, and that one was cleared, outlive the server (3.3.1-5, 3.3.1-10)."""
    for rest, qos in (("a", 1), ("b", 2), ("c", 1)):
        mqtt.send(mqtt.topic(rest), rest.encode(), qos=qos, retain=True)
    mqtt.send(mqtt.topic("c"), b"", qos=1, retain=True)
    _restart(mqtt, how)
    assert mqtt.retained(mqtt.topic("#")) == [(mqtt.topic("a"), b"a", 1), (mqtt.topic("b"), b"b", 2)]


def test_order(mqtt: Clients, how: str) -> None:
    """What was sent comes again in the order of its first sending, then what waited in its own (4.6.0-1, 4.6.0-6)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=2, client_id=name, clean=False), mqtt.connect()
    for number in range(80):
        publisher.publish(topic, bytes([number]), qos=1 + number % 2)
    sent = wire.publications()
    for got in sent[5:20:3]:
        wire.acknowledge(got)
    done = {got.payload for got in sent[5:20:3]}
    wire.settle()
    wire.drop()
    # Its PUBACK says that all that was noted before it is stored.
    publisher.publish(topic, b"last", qos=1)
    _restart(mqtt, how)
    wire = mqtt.connect(name, clean=False)
    expected = [bytes([number]) for number in range(80) if bytes([number]) not in done] + [b"last"]
    assert [wire.delivery().payload for _ in expected] == expected
    assert wire.publications() == []


def test_retained_message_sent_again(mqtt: Clients, how: str) -> None:
    """A retained message that is sent again is still one that came with a subscription: RETAIN is set (3.3.1-8)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    mqtt.send(topic, b"kept", qos=1, retain=True)
    wire = mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    first = wire.publication()
    wire.drop()
    _restart(mqtt, how)
    again = mqtt.connect(name, clean=False).publication()
    assert (again.number, again.payload, again.dup, again.retain) == (first.number, b"kept", True, True)


def test_retained_messages_still_owed(mqtt: Clients, how: str) -> None:
    """All that a new subscription is owed is sent, also if it is more than fits at once (3.3.1-6, 4.1.0-1)."""
    name, topics = mqtt.name(), {mqtt.topic(str(number)) for number in range(60)}
    publisher = mqtt.connect()
    for topic in topics:
        publisher.publish(topic, topic.encode(), qos=1, retain=True)
    mqtt.subscriber(mqtt.topic("+"), qos=1, client_id=name, clean=False).drop()
    _restart(mqtt, how)
    wire, publisher = mqtt.connect(name, clean=False), mqtt.connect()
    got: set[str] = set()
    wire.settle()
    while any(packet.kind == Kind.PUBLISH for packet in wire.inbox):
        got.add(wire.delivery().topic)
        wire.settle()
    for topic in topics:
        publisher.publish(topic, b"", qos=1, retain=True)
    assert got == topics


def test_will_of_a_stopped_server(mqtt: Clients) -> None:
    """A server that stops closes connections without their DISCONNECT: their wills are published (3.1.2-8)."""
    name, topic = mqtt.name(), mqtt.topic("will")
    mqtt.subscriber(topic, qos=1, client_id=name, clean=False)
    mqtt.connect(will=Will(topic, b"gone", 1, retain=True))
    mqtt.fleet.server.restart()
    assert mqtt.connect(name, clean=False).payloads() == [b"gone"]
    assert mqtt.retained(topic) == [(topic, b"gone", 1)]


def test_number_after_pubcomp(mqtt: Clients) -> None:
    """Once PUBCOMP was sent, the packet id means a new message, whatever happens to the server (4.3.3-2)."""
    name, topic, witness = mqtt.name(), mqtt.topic("x"), mqtt.name()
    mqtt.subscriber(topic, qos=2, client_id=witness, clean=False).disconnect()
    mqtt.connect(name, clean=False).publish(topic, b"1", qos=2)
    _restart(mqtt, "kill")
    wire = mqtt.connect(name, clean=False)
    wire.publish(topic, b"2", qos=2)
    assert mqtt.connect(witness, clean=False).payloads() == [b"1", b"2"]


def test_publish_after_pubrel(mqtt: Clients) -> None:
    """Once PUBREL was sent, the PUBLISH is never sent again, whatever happens to the server (4.3.3-1)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    mqtt.send(topic, b"1", qos=2)
    number = wire.publication().number
    wire.send(acknowledgement(Kind.PUBREC, number))
    wire.receive(Kind.PUBREL)
    _restart(mqtt, "kill")
    wire = mqtt.connect(name, clean=False)
    wire.settle()
    assert [(got.kind, got.body) for got in wire.inbox] == [(Kind.PUBREL, number.to_bytes(2, "big"))]


def test_session_after_a_clean_one(mqtt: Clients) -> None:
    """Once a CONNECT with CleanSession 1 was accepted, the old session never comes back (3.1.2-6)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
    mqtt.send(topic, b"old", qos=1)
    mqtt.connect(name)
    _restart(mqtt, "kill")
    wire = mqtt.connect(name, clean=False)
    assert not wire.is_session_present
    assert wire.publications() == []


def test_store_that_can_not_be_written(mqtt: Clients) -> None:
    """A transient error closes the connection of the packet that met it, unacknowledged (4.8.0-2).

    What is sent again afterwards is taken, acknowledged, and as lasting as if nothing had been; others went on
    meanwhile.
    """
    topic, names = mqtt.topic("x"), [mqtt.name() for _ in range(4)]
    mqtt.subscriber(topic, qos=2, client_id=names[0], clean=False).disconnect()
    packets = [
        publish(topic, b"1", qos=1, number=1),
        publish(topic, b"2", qos=2, number=1),
        subscribe(1, (mqtt.topic("y"), 1)),
    ]
    answers = [Kind.PUBACK, Kind.PUBREC, Kind.SUBACK]
    wires = [mqtt.connect(name, clean=False) for name in names[1:]]
    other = mqtt.subscriber(mqtt.topic("live"), qos=1)
    other.settle()
    recovered = len(log_lines(mqtt.fleet, "broker_store_recovered"))
    with closing(sqlite3.connect(mqtt.fleet.server.data_dir / "broker.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        for wire, sent in zip(wires, packets, strict=True):
            wire.send(sent)
        other.publish(mqtt.topic("live"), qos=1)
        assert other.delivery().payload == b"x"
        for wire in wires:
            # Each group of a commit waits for the lock by itself.
            assert wire.is_closed_by_broker(30)
            assert not wire.inbox
        lock.execute("ROLLBACK")
    assert eventually(lambda: len(log_lines(mqtt.fleet, "broker_store_recovered")) > recovered)
    for name, sent, answer in zip(names[1:], packets, answers, strict=True):
        wire = mqtt.connect(name, clean=False)
        wire.send(bytes([sent[0] | (8 if answer is not Kind.SUBACK else 0)]) + sent[1:])
        assert number_of(wire.receive(answer)) == 1
        if answer is Kind.PUBREC:
            wire.send(acknowledgement(Kind.PUBREL, 1))
            wire.receive(Kind.PUBCOMP)
        wire.drop()
    _restart(mqtt, "kill")
    got = mqtt.connect(names[0], clean=False).payloads()
    assert b"1" in got
    assert got.count(b"2") == 1
    wire = mqtt.connect(names[3], clean=False)
    wire.publish(mqtt.topic("y"), b"y", qos=1)
    assert wire.payloads() == [b"y"]
