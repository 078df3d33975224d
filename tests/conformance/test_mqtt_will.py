"""Last wills (3.1.2.5 to 3.1.2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import PINGREQ, Will, connect, connect_fields, packet, publish
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients


def _violate(wire: Wire) -> None:
    wire.send(packet(15, 0, b""))
    assert wire.is_closed_by_broker()


def _cut_off(wire: Wire) -> None:
    wire.send(publish("a/b", bytes(100))[:50])
    wire.drop()


ENDS: dict[str, Callable[[Wire], None]] = {
    "dropped": lambda wire: wire.drop(),
    "violation": _violate,
    "cut_off": _cut_off,
}


@EACH_VERSION
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("clean", [True, False])
def test_will(mqtt: Clients, end: Callable[[Wire], None], *, clean: bool) -> None:
    """The will is published when the connection ends without DISCONNECT, once, and not before (3.1.2-8).

    MQTT 5: 3.1.2-7, 3.1.2-8.
    """
    topic = mqtt.topic("will")
    witness = mqtt.subscriber(topic, qos=2)
    wire = mqtt.connect(clean=clean, will=Will(topic, b"gone", 1))
    wire.publish(mqtt.topic("other"), qos=1)
    assert witness.publications() == []
    end(wire)
    got = witness.delivery()
    assert (got.topic, got.payload, got.qos, got.retain, got.dup) == (topic, b"gone", 1, False, False)
    assert witness.publications() == []


@EACH_VERSION
def test_will_of_a_connection_taken_over(mqtt: Clients) -> None:
    """Being taken over ends a connection as well: its own will is published, not the new one's (3.1.2-8).

    MQTT 5: 3.1.2-8.
    """
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    mqtt.connect(name, will=Will(topic, b"old"))
    wire = mqtt.connect(name, will=Will(topic, b"new"))
    assert witness.publication().payload == b"old"
    assert witness.publications() == []
    wire.drop()
    assert witness.publication().payload == b"new"


@EACH_VERSION
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_qos_and_retain(mqtt: Clients, qos: int, granted: int, *, retain: bool) -> None:
    """Will QoS and Will Retain are those of the message (3.1.2-9, 3.1.2-14, 3.1.2-16, 3.1.2-17).

    MQTT 5: 3.1.2-9, 3.1.2-12, 3.1.2-14, 3.1.2-15, 3.2.2-12, 3.2.2-13.
    """
    topic, payload = mqtt.topic("will"), b"\x00\xffgone"
    witness = mqtt.subscriber(topic, qos=granted)
    mqtt.connect(will=Will(topic, payload, qos, retain)).drop()
    got = witness.publication()
    assert (got.topic, got.payload, got.qos, got.retain) == (topic, payload, min(qos, granted), False)
    assert mqtt.retained(topic) == ([(topic, payload, qos)] if retain else [])


@EACH_VERSION
def test_will_that_is_not_retained(mqtt: Clients) -> None:
    """A will without Will Retain leaves the retained message as it is (3.1.2-16).

    MQTT 5: 3.1.2-14.
    """
    topic = mqtt.topic("will")
    mqtt.send(topic, b"kept", qos=1, retain=True)
    mqtt.connect(will=Will(topic, b"gone")).drop()
    assert mqtt.retained(topic) == [(topic, b"kept", 1)]


def test_empty_will(mqtt: Clients) -> None:
    """A will may be empty: it is published so, and retained it clears the topic (3.1.3.3, 3.3.1-10)."""
    topic = mqtt.topic("will")
    mqtt.send(topic, b"kept", qos=1, retain=True)
    witness = mqtt.subscriber(topic)
    witness.publications()
    mqtt.connect(will=Will(topic, b"", 0, retain=True)).drop()
    assert witness.publication().payload == b""
    assert mqtt.retained(topic) == []


def test_will_for_a_session_that_is_away(mqtt: Clients) -> None:
    """A will reaches sessions like any other message, also those that wait (3.1.2-8, 4.5.0-1)."""
    topic, name = mqtt.topic("will"), mqtt.name()
    mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
    mqtt.connect(will=Will(topic, b"gone", 2)).drop()
    assert mqtt.connect(name, clean=False).publication().payload == b"gone"


def test_will_for_its_own_session(mqtt: Clients) -> None:
    """Whoever subscribed to its own will finds it when it comes back to its session (3.1.2-8)."""
    topic, name = mqtt.topic("will"), mqtt.name()
    wire = mqtt.connect(name, clean=False, will=Will(topic, b"mine", 1))
    wire.subscribe(topic, qos=1)
    wire.drop()
    assert mqtt.connect(name, clean=False).publication().payload == b"mine"


@EACH_VERSION
@pytest.mark.parametrize("clean", [True, False])
def test_disconnect_discards_the_will(mqtt: Clients, *, clean: bool) -> None:
    """After DISCONNECT the will is not published, now or later (3.14.4-3, 3.1.2-10).

    MQTT 5: 3.1.2-8, 3.1.2-10, 3.14.4-3.
    """
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    mqtt.connect(name, clean=clean, will=Will(topic, b"gone", 1, retain=True)).disconnect()
    mqtt.connect(name, clean=clean).drop()
    mqtt.connect(will=Will(topic, b"another's")).drop()
    assert witness.publication().payload == b"another's"
    assert witness.publications() == []
    assert mqtt.retained(topic) == []


def test_disconnect_with_more_behind_it(mqtt: Clients) -> None:
    """DISCONNECT is the end: what came before it is handled, what follows isn't, and there is no will (3.14.4-3)."""
    topic = mqtt.topic("x")
    witness = mqtt.subscriber(mqtt.topic("#"))
    wire = mqtt.connect(will=Will(mqtt.topic("will")))
    wire.send(publish(topic, b"before"), packet(14, 0, b""), publish(topic, b"after"), PINGREQ, packet(15, 0, b""))
    assert wire.is_closed_by_broker()
    assert not wire.inbox
    assert witness.payloads() == [b"before"]


@EACH_VERSION
def test_published_will_is_gone(mqtt: Clients) -> None:
    """A will belongs to one connection: the session's next connection has it only if its CONNECT does (3.1.2-10).

    MQTT 5: 3.1.2-10.
    """
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    mqtt.connect(name, clean=False, will=Will(topic, b"first")).drop()
    assert witness.publication().payload == b"first"
    mqtt.connect(name, clean=False).drop()
    mqtt.connect(name, clean=False, will=Will(topic, b"third")).drop()
    assert witness.publication().payload == b"third"
    assert witness.publications() == []


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_no_will(mqtt: Clients, end: Callable[[Wire], None]) -> None:
    """Without the will flag nothing is published (3.1.2-12)."""
    witness = mqtt.witness()
    end(mqtt.connect())
    mqtt.connect(will=Will(mqtt.topic("will"))).drop()
    assert witness.publication().topic == mqtt.topic("will")
    assert witness.publications() == []


def test_will_of_a_refused_connect(mqtt: Clients) -> None:
    """A will is kept only if the CONNECT is accepted (3.1.2-8)."""
    topic, name = mqtt.topic("will"), mqtt.name()
    witness = mqtt.subscriber(topic)
    will = Will(topic, b"gone", 1, retain=True)
    assert mqtt.open().log_in(connect(name, mqtt.key.key, "wrong", will=will)) == 5
    assert mqtt.open().log_in(mqtt.hello("", clean=False, will=will)) == 2
    fields = [name, topic, "gone", mqtt.key.key, mqtt.key.secret]
    assert mqtt.open().log_in(connect_fields(0xC6, *fields, level=3)) == 1
    assert mqtt.open().log_in(connect_fields(0xC7, *fields)) is None
    assert witness.publications() == []
    assert mqtt.retained(topic) == []
