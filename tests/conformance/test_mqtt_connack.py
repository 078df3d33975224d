"""CONNACK (3.2) and what comes after it, or doesn't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import PINGREQ, Kind, connect, connect_fields, publish, subscribe
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients


Refused = tuple[int, "Callable[[Clients, str], bytes]"]
REFUSED: dict[str, Refused] = {
    "protocol_level": (1, lambda m, name: connect_fields(0xC0, name, m.key.key, m.key.secret, level=6)),
    "empty_client_id": (2, lambda m, _: m.hello("", clean=False)),
    "wrong_secret": (5, lambda m, name: connect(name, m.key.key, "0" * 64, clean=False)),
    "unknown_key": (5, lambda m, name: connect(name, "0" * 32, m.key.secret, clean=False)),
    "no_password": (5, lambda m, name: connect(name, m.key.key, clean=False)),
    "no_credentials": (5, lambda _, name: connect(name, clean=False)),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_refusal(mqtt: Clients, refused: Refused) -> None:
    """A refusal has its code, never says that a session is present, and is followed by the end (3.2.2-4, 3.2.2-5)."""
    code, hello = refused
    name = mqtt.name()
    mqtt.connect(name, clean=False).disconnect()
    wire = mqtt.open()
    assert wire.log_in(hello(mqtt, name)) == code
    assert not wire.is_session_present
    assert wire.is_closed_by_broker()
    assert not wire.inbox


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_data_after_a_refused_connect(mqtt: Clients, refused: Refused) -> None:
    """What came with a CONNECT that is refused is not handled (3.1.4-5)."""
    code, hello = refused
    witness, wire = mqtt.subscriber(mqtt.topic("#")), mqtt.open()
    wire.send(
        hello(mqtt, mqtt.name()),
        subscribe(1, (mqtt.topic("#"), 0)),
        publish(mqtt.topic("x"), retain=True),
        publish(mqtt.topic("y"), qos=1),
        PINGREQ,
    )
    assert wire.is_closed_by_broker()
    assert [(got.kind, got.body) for got in wire.inbox] == [(Kind.CONNACK, bytes([0, code]))]
    assert witness.publications() == []
    assert mqtt.retained(mqtt.topic("#")) == []


def test_accepted(mqtt: Clients) -> None:
    """A good CONNECT is answered with return code 0, and with one CONNACK only (3.1.4-4)."""
    wire = mqtt.open()
    wire.send(mqtt.hello(mqtt.name()))
    got = wire.read()
    assert got is not None
    assert (got.kind, got.flags, got.body) == (Kind.CONNACK, 0, b"\0\0")
    wire.settle()
    assert not wire.inbox


@EACH_VERSION
def test_first_packet_of_the_server(mqtt: Clients) -> None:
    """CONNACK comes before whatever else there is to send: answers, messages that waited, retained ones (3.2.0-1).

    MQTT 5: 3.2.0-1, 3.2.0-2.
    """
    name, topic = mqtt.name(), mqtt.topic("x")
    mqtt.subscriber(topic, qos=1, client_id=name, clean=False).disconnect()
    mqtt.send(topic, b"waited", qos=1, retain=True)
    wire = mqtt.open()
    wire.send(mqtt.hello(name, clean=False), subscribe(1, (topic, 0)), publish(topic, b"own", qos=1), PINGREQ)
    wire.receive(Kind.PINGRESP)
    first = wire.inbox[0]
    assert (first.kind, first.body[:2]) == (Kind.CONNACK, b"\x01\x00")
    assert [got.kind for got in wire.inbox].count(Kind.CONNACK) == 1
    assert b"waited" in wire.payloads()


@EACH_VERSION
@pytest.mark.parametrize("how", ["disconnected", "dropped", "connected"])
def test_session_present(mqtt: Clients, how: str) -> None:
    """Session present is 1 exactly when a session was kept and goes on (3.1.4-3, 3.2.2-1, 3.2.2-2, 3.2.2-3).

    MQTT 5: 3.1.2-6, 3.1.4-4, 3.2.2-2, 3.2.2-3.
    """
    name = mqtt.name()

    def connects(*, clean: bool) -> bool:
        wire = mqtt.connect(name, clean=clean)
        if how == "disconnected":
            wire.disconnect()
        elif how == "dropped":
            wire.drop()
        return wire.is_session_present

    assert connects(clean=False) is False
    assert connects(clean=False) is True
    assert connects(clean=False) is True
    assert connects(clean=True) is False
    assert connects(clean=False) is False
    assert connects(clean=True) is False
    assert connects(clean=True) is False


@EACH_VERSION
def test_session_present_without_subscriptions(mqtt: Clients) -> None:
    """A session without a subscription is one, too (3.2.2-2).

    MQTT 5: 3.2.2-3.
    """
    name = mqtt.name()
    mqtt.connect(name, clean=False).disconnect()
    assert mqtt.connect(name, clean=False).is_session_present


def test_reserved_return_codes(mqtt: Clients) -> None:
    """Where no return code applies, the connection is closed without a CONNACK: never one above 5 (3.2.2-6).

    As MQTT 5.0, the same bytes are no CONNECT.
    """
    for level in range(256):
        hello = connect_fields(0xC2, mqtt.name(), mqtt.key.key, mqtt.key.secret, level=level)
        assert mqtt.open().log_in(hello) == {4: 0, 5: None}.get(level, 1)
    for name in "MQTU", "mqtt", "":
        assert (
            mqtt.open().log_in(connect_fields(0xC2, mqtt.name(), mqtt.key.key, mqtt.key.secret, protocol=name)) is None
        )
