"""SUBSCRIBE and SUBACK (3.8, 3.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, codes_of, number_of, packet, publish, subscribe
from tests.support.versions import EACH_VERSION, LEVEL_3_1_1, LEVEL_5

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = EACH_VERSION

REFUSED = {LEVEL_3_1_1: 0x80, LEVEL_5: 0x87}
"""The code of a filter outside of the scope."""


def test_suback(mqtt: Clients) -> None:
    """A SUBSCRIBE is answered with one SUBACK of its packet id, with a code for each filter (3.8.4-1, 3.8.4-2).

    MQTT 5: 3.8.4-1, 3.8.4-2.
    """
    wire = mqtt.connect()
    pairs = [(mqtt.topic(str(n)), n % 3) for n in range(7)]
    wire.send(subscribe(0xABCD, *pairs))
    got = wire.read()
    assert got is not None
    assert (got.kind, got.flags, number_of(got)) == (Kind.SUBACK, 0, 0xABCD)
    assert codes_of(got) == [qos for _, qos in pairs]
    wire.settle()
    assert not wire.inbox


def test_codes_in_order(mqtt: Clients, each_version: int) -> None:
    """There is a code for each filter, in order: its QoS, or why it is refused (3.8.4-5, 3.9.3-1, 3.9.3-2).

    MQTT 5: 3.8.4-6, 3.8.4-7, 3.9.3-1.
    """
    device = mqtt.fleet.device()
    wire = mqtt.connect(device.client_id, key=device)
    foreign = mqtt.fleet.device().topic("#")
    pairs = [
        (device.topic("a"), 2),
        ("#", 2),
        (device.topic("b"), 0),
        (foreign, 1),
        ("$SYS/#", 0),
        (device.topic("#"), 1),
    ]
    wire.send(subscribe(7, *pairs))
    refused = REFUSED[each_version]
    assert codes_of(wire.receive(Kind.SUBACK)) == [2, refused, 0, refused, refused, 1]
    wire.publish(device.topic("b"), b"own", qos=2)
    assert [got.payload for got in wire.publications()] == [b"own"]


def test_codes_of_the_standard_only(mqtt: Clients) -> None:
    """No code but 0, 1, 2 and 0x80 is ever sent, whatever the filter is (3.9.3-2)."""
    device = mqtt.fleet.device()
    wire = mqtt.connect(device.client_id, key=device)
    filters = [
        "a",
        "+",
        "#",
        "/",
        "$a",
        "$share/g/a",
        "\u00e9",
        "a" * 5000,
        "/" * 40,
        device.topic("a"),
        device.topic("#"),
    ]
    assert set(wire.subscribe(*filters, qos=2)) <= {0, 1, 2, 0x80}


@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_qos_of_a_delivery(mqtt: Clients, granted: int, published: int) -> None:
    """A message comes with the lower of its own QoS and the one granted (3.8.4-6; MQTT 5: 3.8.4-8)."""
    wire = mqtt.subscriber(mqtt.topic("x"), qos=granted)
    mqtt.send(mqtt.topic("x"), b"1", qos=published)
    got = wire.delivery()
    assert (got.payload, got.qos) == (b"1", min(granted, published))


@pytest.mark.parametrize("later", [0, 1, 2])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_replaced_subscription(mqtt: Clients, first: int, later: int) -> None:
    """The same filter again replaces the subscription: one copy, with the new QoS (3.8.4-3; MQTT 5: 3.8.4-3)."""
    wire = mqtt.subscriber(mqtt.topic("a/+"), qos=first)
    assert wire.subscribe(mqtt.topic("a/+"), qos=later) == [later]
    mqtt.send(mqtt.topic("a/b"), b"1", qos=2)
    assert [(got.payload, got.qos) for got in wire.publications()] == [(b"1", later)]
    wire.unsubscribe(mqtt.topic("a/+"))
    mqtt.send(mqtt.topic("a/b"), b"2", qos=2)
    assert wire.publications() == []


def test_replaced_subscription_of_a_kept_session(mqtt: Clients) -> None:
    """The new QoS is what the session keeps (3.8.4-3; MQTT 5: 3.8.4-3)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.subscriber(topic, qos=2, client_id=name, clean=False)
    wire.subscribe(topic, qos=1)
    wire.disconnect()
    mqtt.send(topic, b"1", qos=2)
    assert [(got.payload, got.qos) for got in mqtt.connect(name, clean=False).publications()] == [(b"1", 1)]


def test_flow_while_a_subscription_is_replaced(mqtt: Clients) -> None:
    """Replacing a subscription doesn't interrupt the flow: nothing is lost, nothing comes twice (3.8.4-3).

    MQTT 5: 3.8.4-4.
    """
    topic = mqtt.topic("x")
    wire, publisher = mqtt.subscriber(topic, qos=1), mqtt.connect()
    expected = [number.to_bytes(2, "big") for number in range(300)]
    publisher.send(*(publish(topic, payload, qos=1, number=n + 1) for n, payload in enumerate(expected)))
    seen: list[bytes] = []
    while len(seen) < len(expected):
        wire.subscribe(topic, qos=1)
        got = wire.publications()
        seen += [message.payload for message in got]
        wire.send(*(acknowledgement(Kind.PUBACK, message.number) for message in got))
        assert len(seen) == len(expected) or not publisher.inbox
    assert seen == expected


def test_many_filters_are_a_sequence(mqtt: Clients) -> None:
    """Many filters in one packet do what as many packets would, in order, with one SUBACK (3.8.4-4).

    MQTT 5: 3.8.4-5.
    """
    for rest in ("x", "y"):
        mqtt.send(mqtt.topic(rest), rest.encode(), qos=2, retain=True)
    pairs = [(mqtt.topic("x"), 2), (mqtt.topic("y"), 0), (mqtt.topic("x"), 1), (mqtt.topic("+"), 0)]
    one, many = mqtt.connect(), mqtt.connect()
    one.send(subscribe(1, *pairs))
    assert codes_of(one.receive(Kind.SUBACK)) == [2, 0, 1, 0]
    for pair in pairs:
        many.send(subscribe(2, pair))
        assert codes_of(many.receive(Kind.SUBACK)) == [pair[1]]
    retained = [sorted((got.topic, got.qos, got.retain) for got in wire.publications()) for wire in (one, many)]
    assert retained[0] == retained[1]
    assert retained[0].count((mqtt.topic("x"), 2, True)) == 1
    assert retained[0].count((mqtt.topic("x"), 1, True)) == 1
    mqtt.send(mqtt.topic("x"), b"1", qos=2)
    mqtt.send(mqtt.topic("y"), b"2", qos=2)
    for wire in one, many:
        assert [(got.payload, got.qos) for got in wire.publications()] == [(b"1", 1), (b"2", 0)]


@pytest.mark.parametrize("published", [0, 1, 2])
def test_overlapping_subscriptions(mqtt: Clients, published: int) -> None:
    """Where several subscriptions match, the message comes once, with the highest QoS granted (3.3.5-1).

    MQTT 5: 3.3.4-2.
    """
    filters = {"a/b": 0, "a/+": 2, "a/#": 1, "+/b": 0, "#": 1}
    wire = mqtt.connect()
    for rest, qos in filters.items():
        wire.subscribe(mqtt.topic(rest), qos=qos)
    mqtt.send(mqtt.topic("a/b"), b"1", qos=published)
    assert [(got.payload, got.qos) for got in wire.publications()] == [(b"1", published)]
    mqtt.send(mqtt.topic("a"), b"2", qos=published)
    assert [(got.payload, got.qos) for got in wire.publications()] == [(b"2", min(published, 1))]


@pytest.mark.parametrize(
    ("options", "reason"),
    [(3, 0x82), (0x30, 0x82), (0x40, 0x81), (0x80, 0x81), (0xC2, 0x81)],
    ids=lambda value: f"{value:x}",
)
def test_reserved_bits(mqtt: Clients, options: int, reason: int) -> None:
    """A requested QoS over 2, or a reserved bit, closes the connection (3.8.3-4; MQTT 5: 3.8.3-5)."""
    for pairs in ([(mqtt.topic("x"), options)], [(mqtt.topic("x"), 1), (mqtt.topic("y"), options)]):
        wire = mqtt.connect()
        wire.send(subscribe(1, *pairs))
        assert wire.is_closed_for(reason)


@pytest.mark.parametrize("options", [0x4, 0x8, 0x10, 0x20])
def test_options_of_mqtt_5(mqtt: Clients, each_version: int, options: int) -> None:
    """What is an option in MQTT 5 is a reserved bit in 3.1.1 (3.8.3-4)."""
    wire = mqtt.connect()
    wire.send(subscribe(1, (mqtt.topic("x"), options)))
    if each_version == LEVEL_3_1_1:
        assert wire.is_closed_for()
    else:
        assert codes_of(wire.receive(Kind.SUBACK)) == [0]


def test_no_filter(mqtt: Clients) -> None:
    """A SUBSCRIBE without a filter is a violation (3.8.3-3; MQTT 5: 3.8.3-2)."""
    wire = mqtt.connect()
    wire.send(subscribe(1))
    assert wire.is_closed_for(0x82)


@pytest.mark.parametrize("flags", [0x0, 0x1, 0x3, 0x6, 0xA, 0xF])
def test_reserved_flags(mqtt: Clients, flags: int) -> None:
    """Flags other than 0010 close the connection, and nothing is subscribed (3.8.1-1; MQTT 5: 3.8.1-1)."""
    name = mqtt.name()
    wire = mqtt.connect(name, clean=False)
    wire.send(packet(Kind.SUBSCRIBE, flags, subscribe(1, mqtt.topic("x"), qos=1)[2:]))
    assert wire.is_closed_for(0x81)
    mqtt.send(mqtt.topic("x"), qos=1)
    assert mqtt.connect(name, clean=False).publications() == []


def test_message_right_after_suback(mqtt: Clients) -> None:
    """A subscription holds from its SUBACK on (3.8.4-1; MQTT 5: 3.8.4-1)."""
    wire, publisher = mqtt.connect(), mqtt.connect()
    for number in range(50):
        wire.subscribe(mqtt.topic(str(number)), qos=number % 3)
        publisher.publish(mqtt.topic(str(number)), bytes([number]), qos=1)
        assert wire.delivery().payload == bytes([number])


def test_wildcards_are_supported(mqtt: Clients) -> None:
    """Filters with wildcards are granted and work, so none has to be refused for them (3.8.3-2)."""
    wire = mqtt.connect()
    assert wire.subscribe(mqtt.topic("+/b"), mqtt.topic("c/#"), qos=1) == [1, 1]
    for rest in ("a/b", "c", "c/d/e", "d"):
        wire.publish(mqtt.topic(rest), rest.encode(), qos=1)
    assert wire.payloads() == [b"a/b", b"c", b"c/d/e"]


def test_number_used_again(mqtt: Clients) -> None:
    """Packet ids of SUBSCRIBE may be used again at once, and for anything (2.3.1)."""
    wire = mqtt.connect()
    for number in range(5):
        wire.send(subscribe(1, (mqtt.topic(str(number)), 1)), publish(mqtt.topic(str(number)), qos=1, number=1))
        assert number_of(wire.receive(Kind.SUBACK)) == 1
        assert number_of(wire.receive(Kind.PUBACK)) == 1
        wire.delivery()
