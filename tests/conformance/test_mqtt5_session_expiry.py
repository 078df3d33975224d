"""Clean Start and the session expiry interval of MQTT 5 (3.1.2.4, 3.1.2.11.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.properties import Name, prop
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.wire import Wire
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

FOREVER = 0xFFFF_FFFF


def _expiry(seconds: int) -> bytes:
    return prop(Name.SESSION_EXPIRY, seconds)


def _end(wire: Wire, how: str) -> None:
    if how == "disconnect":
        wire.disconnect()
    elif how == "drop":
        wire.drop()


@pytest.mark.parametrize("how", ["disconnect", "drop", "take_over"])
@pytest.mark.parametrize("clean", [True, False])
def test_session_that_is_kept(mqtt: Clients, how: str, *, clean: bool) -> None:
    """With an expiry interval, the state is stored after the connection, however that began and ended.

    3.1.2-23, 3.1.2-5, 3.1.2-6.
    """
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.connect(name, clean=clean, properties=_expiry(100))
    assert not wire.is_session_present
    wire.subscribe(topic, qos=1)
    _end(wire, how)
    mqtt.send(topic, b"waited", qos=1)
    again = mqtt.connect(name, clean=False, properties=_expiry(100))
    assert again.is_session_present
    assert again.delivery().payload == b"waited"


@pytest.mark.parametrize("how", ["disconnect", "drop", "take_over"])
@pytest.mark.parametrize("properties", [b"", _expiry(0)], ids=["absent", "0"])
@pytest.mark.parametrize("clean", [True, False])
def test_session_that_ends_with_its_connection(mqtt: Clients, properties: bytes, how: str, *, clean: bool) -> None:
    """Without one, the session ends with its connection, also with Clean Start 0 (3.1.2-6, 3.1.2-23)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.connect(name, properties=properties) if clean else _without_expiry(mqtt, name, properties)
    wire.subscribe(topic, qos=1)
    _end(wire, how)
    again = mqtt.connect(name, clean=False)
    assert not again.is_session_present
    again.publish(topic, qos=1)
    assert again.publications() == []


def _without_expiry(mqtt: Clients, name: str, properties: bytes) -> Wire:
    """Connect with Clean Start 0; `hello` would ask for a session without end unless it is told otherwise."""
    hello = bytearray(mqtt.hello(name, properties=properties))
    hello[hello.index(b"MQTT") + 5] &= ~0x02
    wire = mqtt.open()
    assert wire.log_in(bytes(hello)) == 0
    return wire


def test_expired_session(mqtt: Clients) -> None:
    """Once the interval is over, the session is gone (3.1.2-23, 3.1.2-6)."""
    name, topic = mqtt.name(), mqtt.topic("x")
    wire = mqtt.connect(name, clean=False, properties=_expiry(1))
    wire.subscribe(topic, qos=1)
    wire.disconnect()
    assert eventually(lambda: name in _expired(mqtt))
    again = mqtt.connect(name, clean=False)
    assert not again.is_session_present
    again.publish(topic, qos=1)
    assert again.publications() == []


def _expired(mqtt: Clients) -> str:
    return "".join(line for line in mqtt.fleet.server.log.read_text().splitlines() if "session_expired" in line)


def test_last_interval_counts(mqtt: Clients) -> None:
    """Each CONNECT has its own interval: the session is kept as the last one says (3.1.2-5, 3.1.2-23)."""
    name = mqtt.name()
    mqtt.connect(name, clean=False, properties=_expiry(100)).disconnect()
    wire = mqtt.connect(name, clean=False, properties=_expiry(0))
    assert wire.is_session_present
    wire.disconnect()
    wire = mqtt.connect(name, clean=False, properties=_expiry(0))
    assert not wire.is_session_present
    wire.disconnect()
    mqtt.connect(name, clean=False, properties=_expiry(100)).disconnect()
    assert mqtt.connect(name, clean=False, properties=_expiry(100)).is_session_present


@pytest.mark.parametrize("seconds", [1, 0x7FFF_FFFF, 0xFFFF_FFFE, FOREVER])
def test_capped_interval(mqtt: Clients, seconds: int) -> None:
    """Who asks for more than the server keeps is told the server's own interval; nobody else is (3.2.2.3.2)."""
    wire = mqtt.connect(clean=False, properties=_expiry(seconds))
    if seconds == 1:
        assert Name.SESSION_EXPIRY not in wire.terms
    else:
        assert 1 < wire.terms[Name.SESSION_EXPIRY] < seconds


def test_clean_start_discards(mqtt: Clients) -> None:
    """Clean Start 1 discards the session, and begins one that is kept if it is to be (3.1.2-4, 3.1.4-4, 3.2.2-2)."""
    name, old, new = mqtt.name(), mqtt.topic("old"), mqtt.topic("new")
    mqtt.subscriber(old, qos=1, client_id=name, clean=False).disconnect()
    mqtt.send(old, b"waiting", qos=1)
    wire = mqtt.connect(name, properties=_expiry(100))
    assert not wire.is_session_present
    wire.subscribe(new, qos=1)
    wire.publish(old, qos=1)
    assert wire.publications() == []
    wire.disconnect()
    mqtt.send(new, b"waited", qos=1)
    wire = mqtt.connect(name, clean=False)
    assert wire.is_session_present
    assert wire.payloads() == [b"waited"]
