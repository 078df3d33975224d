"""CONNECT of MQTT 5 (3.1): its fields, and what is closed without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.packets import DISCONNECT, PINGREQ, Kind, Will, connect, packet, publish, subscribe, text
from tests.support.properties import Name, as_properties, prop
from tests.support.versions import LEVEL_5

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

CLEAN, WILL, RETAIN, PASSWORD, USER = 0x02, 0x04, 0x20, 0x40, 0x80
LOGIN = CLEAN | PASSWORD | USER
NONE = b"\0"
"""No properties."""
HEAD = text("MQTT") + bytes([LEVEL_5])
BAD_METHOD, NOT_AUTHORIZED, INVALID_CLIENT_ID = 0x8C, 0x87, 0x85


class Fields(NamedTuple):
    """The fields of a good CONNECT, with their lengths."""

    client_id: bytes
    user: bytes
    secret: bytes


WILL_FIELDS = NONE + text("w") + text("m")
BROKEN: dict[str, Callable[[Fields], bytes]] = {
    "reserved_flag": lambda f: _hello(LOGIN | 0x01, *f),
    "will_qos_1_without_will": lambda f: _hello(LOGIN | 0x08, *f),
    "will_qos_2_without_will": lambda f: _hello(LOGIN | 0x10, *f),
    "will_retain_without_will": lambda f: _hello(LOGIN | RETAIN, *f),
    "will_qos_3": lambda f: _hello(LOGIN | WILL | 0x18, f.client_id, WILL_FIELDS, *f[1:]),
    "will_without_its_fields": lambda f: _hello(LOGIN | WILL, *f),
    "will_without_its_properties": lambda f: _hello(LOGIN | WILL, f.client_id, text("ww") + text("m"), *f[1:]),
    "will_without_its_payload": lambda f: _hello(LOGIN | WILL, f.client_id, NONE + text("w"), *f[1:]),
    "will_fields_without_flag": lambda f: _hello(LOGIN, f.client_id, WILL_FIELDS, *f[1:]),
    "will_properties_over_their_end": lambda f: _hello(LOGIN | WILL, f.client_id, b"\x7f" + WILL_FIELDS[1:], *f[1:]),
    "user_name_without_flag": lambda f: _hello(CLEAN, *f[:2]),
    "user_name_missing": lambda f: _hello(CLEAN | USER, f.client_id),
    "password_without_flag": lambda f: _hello(CLEAN | USER, *f),
    "password_missing": lambda f: _hello(LOGIN, *f[:2]),
    "no_flags": lambda _: packet(Kind.CONNECT, 0, HEAD),
    "no_keep_alive": lambda _: packet(Kind.CONNECT, 0, HEAD + b"\x02"),
    "no_properties": lambda _: packet(Kind.CONNECT, 0, HEAD + b"\x02\x00\x3c"),
    "properties_over_their_end": lambda f: packet(Kind.CONNECT, 0, HEAD + b"\xc2\x00\x3c\xff\x7f" + b"".join(f)),
    "no_client_id": lambda _: _hello(CLEAN),
    "client_id_over_its_end": lambda _: _hello(CLEAN, b"\x00\x09abc"),
    "byte_after_the_end": lambda f: _hello(LOGIN, *f, b"\0"),
}
BAD_VALUES = {
    "receive_maximum_0": prop(Name.RECEIVE_MAXIMUM, 0),
    "maximum_packet_size_0": prop(Name.MAXIMUM_PACKET_SIZE, 0),
    "request_problem_2": prop(Name.REQUEST_PROBLEM, 2),
    "request_response_2": prop(Name.REQUEST_RESPONSE, 2),
    "authentication_data_alone": prop(Name.AUTHENTICATION_DATA, b"x"),
}


def _hello(flags: int, *fields: bytes, properties: bytes = NONE) -> bytes:
    return packet(Kind.CONNECT, 0, HEAD + bytes([flags]) + b"\x00\x3c" + properties + b"".join(fields))


def _fields(mqtt: Clients, name: str) -> Fields:
    return Fields(text(name), text(mqtt.key.key), text(mqtt.key.secret))


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_connect(mqtt: Clients, broken: Callable[[Fields], bytes]) -> None:
    """A CONNECT that isn't as 3.1 says is closed without a CONNACK, and touches nothing that exists.

    3.1.4-1; the flags: 3.1.2-3, 3.1.2-9, 3.1.2-11, 3.1.2-12, 3.1.2-13, 3.1.2-16, 3.1.2-17, 3.1.2-18, 3.1.2-19;
    the client id: 3.1.3-3.
    """
    client_id = mqtt.name()
    live = mqtt.connect(client_id)
    assert mqtt.open().log_in(broken(_fields(mqtt, client_id))) is None
    live.settle()


@pytest.mark.parametrize("properties", BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_value_in_connect(mqtt: Clients, properties: bytes) -> None:
    """A property with a value that it can't have is a protocol error, closed without a CONNACK (3.1.4-1)."""
    client_id = mqtt.name()
    live = mqtt.connect(client_id)
    assert mqtt.open().log_in(mqtt.hello(client_id, properties=properties)) is None
    live.settle()


def test_order_of_fields(mqtt: Clients) -> None:
    """Client id, will properties, topic and payload, user name, password: in this order and no other (3.1.3-1)."""
    name, user, secret = _fields(mqtt, mqtt.name())
    topic, flags = mqtt.topic("will"), LOGIN | WILL
    will = as_properties(prop(Name.CONTENT_TYPE, "t")), text(topic), text("gone")
    witness = mqtt.subscriber(topic, mqtt.key.key)
    right = mqtt.open()
    assert right.log_in(_hello(flags, name, *will, user, secret)) == 0
    right.drop()
    got = witness.publication()
    assert (got.payload, got.properties) == (b"gone", ((Name.CONTENT_TYPE, "t"),))
    for fields in (
        (name, user, secret, *will),
        (name, will[0], will[2], user, will[1], secret),
        (name, will[1], will[2], will[0], user, secret),
        (name, *will, secret, user),
        (will[0], name, will[1], will[2], user, secret),
    ):
        assert mqtt.open().log_in(_hello(flags, *fields)) != 0
    assert witness.publications() == []


def test_client_id_is_first(mqtt: Clients) -> None:
    """The first field is the client id, whatever it looks like (3.1.3-3)."""
    name, user, secret = _fields(mqtt, mqtt.name())
    wire = mqtt.open()
    assert wire.log_in(_hello(LOGIN, name, user, secret)) == 0
    assert mqtt.open().log_in(_hello(LOGIN, user, secret, name)) == 5
    wire.settle()


def test_every_combination_of_flags(mqtt: Clients) -> None:
    """A well-formed CONNECT of every combination of flags that may be is accepted (3.1.4-5, 3.1.2-12)."""
    name, user, secret = _fields(mqtt, mqtt.name())
    for clean in (0, CLEAN):
        for will in (0, *(WILL | qos << 3 | retain for qos in range(3) for retain in (0, RETAIN))):
            fields = (NONE + text(mqtt.topic("will")) + text(""),) if will else ()
            wire = mqtt.open()
            assert wire.log_in(_hello(USER | PASSWORD | clean | will, name, *fields, user, secret)) == 0
            wire.disconnect()


def test_every_property(mqtt: Clients) -> None:
    """A CONNECT with every property that it may have, and a will with every one of its own, is accepted (3.1.4-5)."""
    topic, user = mqtt.topic("will"), prop(Name.USER_PROPERTY, ("k", "v"))
    witness = mqtt.subscriber(topic)
    will = Will(
        topic,
        properties=b"".join(
            [
                prop(Name.WILL_DELAY, 0),
                prop(Name.PAYLOAD_FORMAT, 1),
                prop(Name.MESSAGE_EXPIRY, 60),
                prop(Name.CONTENT_TYPE, "t"),
                prop(Name.RESPONSE_TOPIC, "r"),
                prop(Name.CORRELATION_DATA, b"\0\xff"),
                user,
                user,
            ]
        ),
    )
    properties = b"".join(
        [
            prop(Name.SESSION_EXPIRY, 10),
            prop(Name.RECEIVE_MAXIMUM, 1),
            prop(Name.MAXIMUM_PACKET_SIZE, 1000),
            prop(Name.TOPIC_ALIAS_MAXIMUM, 5),
            prop(Name.REQUEST_RESPONSE, 1),
            prop(Name.REQUEST_PROBLEM, 0),
            user,
            user,
        ]
    )
    mqtt.connect(will=will, properties=properties).drop()
    assert witness.publication().payload == b"gone"


def test_password_without_a_user_name(mqtt: Clients) -> None:
    """That is well-formed in MQTT 5; the login isn't right, though (3.1.2-18, 3.1.4-2)."""
    name, _, secret = _fields(mqtt, mqtt.name())
    wire = mqtt.open()
    wire.log_in(_hello(CLEAN | PASSWORD, name, secret))
    assert wire.reason == NOT_AUTHORIZED
    assert wire.is_closed_by_broker()


WRONG: dict[str, Callable[[Clients, str], bytes]] = {
    "secret": lambda m, name: connect(name, m.key.key, "0" * 64),
    "key": lambda m, name: connect(name, "0" * 32, m.key.secret),
    "no_password": lambda m, name: connect(name, m.key.key),
    "no_credentials": lambda _, name: connect(name),
    "client_id": lambda m, _: connect(m.fleet.device().client_id, m.key.key, m.key.secret),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_refused_login(mqtt: Clients, wrong: Callable[[Clients, str], bytes]) -> None:
    """Who isn't let in is told the same, whatever is wrong, and is disconnected (3.1.4-2, 3.2.2-6, 3.2.2-7)."""
    name = mqtt.name()
    live = mqtt.connect(name, clean=False)
    wire = mqtt.open()
    wire.send(wrong(mqtt, name))
    assert wire.is_closed_by_broker()
    assert [(got.kind, got.body) for got in wire.inbox] == [(Kind.CONNACK, bytes([0, NOT_AUTHORIZED, 0]))]
    live.settle()


@pytest.mark.parametrize("wrong", ["secret", "method", "client_id_of_another"])
def test_data_after_a_refused_connect(mqtt: Clients, wrong: str) -> None:
    """What came with a CONNECT that is refused is not handled (3.1.4-6; after a method: 3.1.2-30)."""
    witness, wire, name = mqtt.subscriber(mqtt.topic("#")), mqtt.open(), mqtt.name()
    hello, reason = connect(name, mqtt.key.key, "wrong"), NOT_AUTHORIZED
    if wrong == "method":
        hello, reason = mqtt.hello(name, properties=prop(Name.AUTHENTICATION_METHOD, "PLAIN")), BAD_METHOD
    elif wrong == "client_id_of_another":
        mqtt.connect(name, clean=False, key=mqtt.fleet.application())
        hello, reason = mqtt.hello(name), INVALID_CLIENT_ID
    wire.send(
        hello,
        packet(Kind.AUTH, 0, b""),
        subscribe(1, (mqtt.topic("#"), 0)),
        publish(mqtt.topic("x"), retain=True),
        publish(mqtt.topic("y"), qos=1),
        PINGREQ,
        DISCONNECT,
    )
    assert wire.is_closed_by_broker()
    assert [(got.kind, got.body[:2]) for got in wire.inbox] == [(Kind.CONNACK, bytes([0, reason]))]
    assert witness.publications() == []
    assert mqtt.retained(mqtt.topic("#")) == []
