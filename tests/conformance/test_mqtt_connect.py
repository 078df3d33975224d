"""CONNECT (3.1): what is one, and what is closed without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    Will,
    acknowledgement,
    connect_fields,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)
from tests.support.versions import EACH_VERSION, current_level

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients


CLEAN, WILL, RETAIN, PASSWORD, USER = 0x02, 0x04, 0x20, 0x40, 0x80
LOGIN = CLEAN | PASSWORD | USER
PROTOCOL_ERROR = 0x82
FIRST: dict[str, Callable[[], bytes]] = {
    "publish": lambda: publish("first", retain=True),
    "puback": lambda: acknowledgement(Kind.PUBACK, 1),
    "pubrel": lambda: acknowledgement(Kind.PUBREL, 1),
    "subscribe": lambda: subscribe(1, ("#", 0)),
    "unsubscribe": lambda: unsubscribe(1, "#"),
    "pingreq": lambda: PINGREQ,
    "disconnect": lambda: DISCONNECT,
    "connack": lambda: packet(Kind.CONNACK, 0, b"\0\0"),
    "reserved": lambda: packet(0, 0, b""),
    "http": lambda: b"GET / HTTP/1.1\r\n\r\n",
}
Fields = tuple[bytes, bytes, bytes]
BROKEN: dict[str, Callable[[Fields], bytes]] = {
    "reserved_flag": lambda f: connect_fields(LOGIN | 0x01, *f),
    "will_qos_1_without_will": lambda f: connect_fields(LOGIN | 0x08, *f),
    "will_qos_2_without_will": lambda f: connect_fields(LOGIN | 0x10, *f),
    "will_retain_without_will": lambda f: connect_fields(LOGIN | RETAIN, *f),
    "will_qos_3": lambda f: connect_fields(LOGIN | WILL | 0x18, f[0], "w", "m", *f[1:]),
    "will_without_its_fields": lambda f: connect_fields(LOGIN | WILL, *f),
    "will_without_its_message": lambda f: connect_fields(LOGIN | WILL, f[0], "w", *f[1:]),
    "will_fields_without_flag": lambda f: connect_fields(LOGIN, f[0], "w", "m", *f[1:]),
    "user_name_without_flag": lambda f: connect_fields(CLEAN, *f[:2]),
    "user_name_missing": lambda f: connect_fields(CLEAN | USER, f[0]),
    "password_without_flag": lambda f: connect_fields(CLEAN | USER, *f),
    "password_missing": lambda f: connect_fields(LOGIN, *f[:2]),
    "password_without_user_name": lambda f: connect_fields(CLEAN | PASSWORD, f[0], f[2]),
    "nothing": lambda _: packet(Kind.CONNECT, 0, b""),
    "only_a_name": lambda _: packet(Kind.CONNECT, 0, text("MQTT")),
    "no_flags": lambda _: packet(Kind.CONNECT, 0, text("MQTT") + b"\x04"),
    "no_keep_alive": lambda _: packet(Kind.CONNECT, 0, text("MQTT") + b"\x04\x02"),
    "half_a_keep_alive": lambda _: packet(Kind.CONNECT, 0, text("MQTT") + b"\x04\x02\x00"),
    "no_client_id": lambda _: connect_fields(CLEAN),
    "client_id_over_its_end": lambda _: packet(Kind.CONNECT, 0, text("MQTT") + b"\x04\x02\x00\x3c\x00\x09abc"),
    "password_over_its_end": lambda f: _cut(connect_fields(LOGIN, *f)),
    "byte_after_the_end": lambda f: _lengthen(connect_fields(LOGIN, *f)),
}


def _cut(data: bytes) -> bytes:
    return packet(Kind.CONNECT, 0, data[2:-1])


def _lengthen(data: bytes) -> bytes:
    return packet(Kind.CONNECT, 0, data[2:] + b"\0")


def _fields(mqtt: Clients, name: str) -> Fields:
    return name.encode(), mqtt.key.key.encode(), mqtt.key.secret.encode()


@EACH_VERSION
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_first_packet(mqtt: Clients, first: Callable[[], bytes]) -> None:
    """A connection that begins with anything but CONNECT is closed, and none of it is handled (3.1.0-1).

    MQTT 5: 3.1.0-1.
    """
    wire = mqtt.open()
    wire.send(first(), mqtt.hello(mqtt.name()))
    assert wire.is_closed_by_broker()
    assert not wire.inbox
    assert mqtt.retained("first") == []


@EACH_VERSION
@pytest.mark.parametrize("is_same", [True, False], ids=["same", "other"])
def test_second_connect(mqtt: Clients, *, is_same: bool) -> None:
    """A second CONNECT, however good, is a violation: the connection is closed and its will goes out (3.1.0-2).

    MQTT 5: 3.1.0-2.
    """
    witness, name = mqtt.subscriber(mqtt.topic("will")), mqtt.name()
    wire = mqtt.connect(name, will=Will(mqtt.topic("will")))
    wire.send(mqtt.hello(name if is_same else mqtt.name()))
    assert wire.is_closed_for(PROTOCOL_ERROR)
    assert witness.publication().payload == b"gone"


@EACH_VERSION
@pytest.mark.parametrize("name", ["mqtt", "MQTt", "MQTT ", "MQT", "", "HTTP", b"\xff", b"MQTT\0"])
def test_protocol_name(mqtt: Clients, name: str | bytes) -> None:
    """What doesn't call itself MQTT is closed and not handled as MQTT 3.1.1 (3.1.2-1).

    MQTT 5: 3.1.2-1.
    """
    client_id = mqtt.name()
    live = mqtt.connect(client_id)
    assert (
        mqtt.open().log_in(connect_fields(LOGIN, *_fields(mqtt, client_id), protocol=name, level=current_level()))
        is None
    )
    live.settle()


@EACH_VERSION
@pytest.mark.parametrize(("name", "level"), [("MQIsdp", 3), *(("MQTT", level) for level in (0, 3, 6, 0x84, 255))])
def test_protocol_level(mqtt: Clients, name: str, level: int) -> None:
    """Another protocol level is answered with CONNACK 1 and closed; nothing that exists is touched (3.1.2-2).

    MQTT 5: 3.1.2-2.
    """
    client_id = mqtt.name()
    live, wire = mqtt.connect(client_id, clean=False), mqtt.open()
    assert wire.log_in(connect_fields(LOGIN, *_fields(mqtt, client_id), protocol=name, level=level)) == 1
    assert not wire.is_session_present
    assert wire.is_closed_by_broker()
    live.settle()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_connect(mqtt: Clients, broken: Callable[[Fields], bytes]) -> None:
    """A CONNECT that isn't as 3.1 says is closed without a CONNACK, and touches nothing that exists.

    3.1.4-1; the flags: 3.1.2-3, 3.1.2-9, 3.1.2-11, 3.1.2-13, 3.1.2-14, 3.1.2-15, 3.1.2-18, 3.1.2-19, 3.1.2-20,
    3.1.2-21, 3.1.2-22; the client id: 3.1.3-3.
    """
    client_id = mqtt.name()
    live = mqtt.connect(client_id)
    wire = mqtt.open()
    assert wire.log_in(broken(_fields(mqtt, client_id))) is None
    live.settle()


def test_order_of_fields(mqtt: Clients) -> None:
    """Client id, will topic, will message, user name, password: in this order and no other (3.1.3-1)."""
    name, user, secret = _fields(mqtt, mqtt.name())
    will, flags = mqtt.topic("will"), LOGIN | WILL
    witness = mqtt.subscriber(will, mqtt.key.key)
    right = mqtt.open()
    assert right.log_in(connect_fields(flags, name, will, "gone", user, secret)) == 0
    right.drop()
    assert witness.publication().payload == b"gone"
    for fields in (
        (name, user, secret, will, b"gone"),
        (name, b"gone", will, secret, user),
        (name, will, b"gone", secret, user),
        (name, will, user, b"gone", secret),
    ):
        wire = mqtt.open()
        assert wire.log_in(connect_fields(flags, *fields)) not in {0, 1}
    assert witness.publications() == []


def test_client_id_is_first(mqtt: Clients) -> None:
    """The first field is the client id, whatever it looks like (3.1.3-3)."""
    name, user, secret = _fields(mqtt, mqtt.name())
    wire = mqtt.open()
    assert wire.log_in(connect_fields(LOGIN, name, user, secret)) == 0
    assert mqtt.open().log_in(connect_fields(LOGIN, user, secret, name)) == 5
    wire.settle()


def test_every_combination_of_flags(mqtt: Clients) -> None:
    """A well-formed CONNECT of every combination of flags that may be is accepted (3.1.4-4)."""
    name, user, secret = _fields(mqtt, mqtt.name())
    for clean in (0, CLEAN):
        for will in (0, *(WILL | qos << 3 | retain for qos in range(3) for retain in (0, RETAIN))):
            fields = (mqtt.topic("will"), "") if will else ()
            wire = mqtt.open()
            assert wire.log_in(connect_fields(USER | PASSWORD | clean | will, name, *fields, user, secret)) == 0
            wire.disconnect()
