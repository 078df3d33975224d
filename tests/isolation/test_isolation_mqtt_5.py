"""What only MQTT 5 can say tells nobody about others, and gives nobody what isn't theirs."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import hash_secret, new_secret
from fleetkey.registry import ApplicationScope, DeviceState, new_access_key
from tests.support.fleet import Credentials
from tests.support.ledger import the_ledger
from tests.support.packets import Kind, Will, acknowledgement, connect, packet, publish, reason_of, subscribe
from tests.support.properties import Name, as_properties, prop
from tests.support.reasons import Says
from tests.support.versions import only_5
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.fleet import Fleet

pytestmark = only_5

REFUSED = 0x80
FOREVER = 0xFFFF_FFFF
SECRET_WORD = "of-one-client"
USERS = prop(Name.USER_PROPERTY, (SECRET_WORD, SECRET_WORD))


@pytest.fixture(scope="module")
def everyone(fleet: Fleet) -> Credentials:
    """Make a back end that may do everything."""
    return fleet.application(publish=("#",), subscribe=("#",))


# Refusals


def _from_elsewhere(fleet: Fleet) -> Credentials:
    """Make an application key that may not connect from here."""
    key, secret = new_access_key(), new_secret()
    the_ledger().note_secret(secret.reveal())
    with fleet.store() as store:
        store.create_application_key(
            key=key,
            secret_hash=hash_secret(secret, 4),
            name="elsewhere",
            scope=ApplicationScope(all_devices=True),
            sources=("192.0.2.0/24",),
            actor="test",
        )
    return Credentials(client_id=f"app-{secrets.token_hex(6)}", key=key, secret=secret.reveal())


def _disabled(fleet: Fleet) -> Credentials:
    device = fleet.device()
    with fleet.store() as store:
        store.set_device_state(device.client_id, DeviceState.DISABLED, actor="test")
    return device


def _attempts(fleet: Fleet) -> dict[str, bytes]:
    """Return a CONNECT for every way in which a credential can be wrong for what it is used for."""
    device, other, elsewhere, disabled = fleet.device(), fleet.device(), _from_elsewhere(fleet), _disabled(fleet)
    return {
        "wrong_secret": connect(device.client_id, device.key, secrets.token_hex(32)),
        "unknown_key": connect(device.client_id, secrets.token_hex(16), device.secret),
        "no_credentials": connect(device.client_id),
        "wrong_client_id": connect(other.client_id, device.key, device.secret),
        "wrong_client_id_that_exists_nowhere": connect("0" * 24, device.key, device.secret),
        "no_client_id_and_wrong_secret": connect("", device.key, secrets.token_hex(32)),
        "foreign_will": connect(device.client_id, device.key, device.secret, will=Will(other.topic("x"))),
        "long_will": connect(device.client_id, device.key, device.secret, will=Will(device.topic("x" * 2_000))),
        "wrong_address": connect(elsewhere.client_id, elsewhere.key, elsewhere.secret),
        "disabled": connect(disabled.client_id, disabled.key, disabled.secret),
        "properties": connect(
            device.client_id, device.key, "", properties=prop(Name.SESSION_EXPIRY, 9) + prop(Name.REQUEST_RESPONSE, 1)
        ),
    }


@BOTH_TRANSPORTS
def test_refusals_are_the_same_bytes(fleet: Fleet, *, websocket: bool) -> None:
    """Whatever is wrong, and whatever exists: CONNACK 0x87 with no property, and the end."""
    answers = {}
    for name, attempt in _attempts(fleet).items():
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.send(attempt)
            got = wire.read()
            assert got is not None, name
            answers[name] = (got.kind, got.flags, got.body)
            assert wire.read() is None, name
    assert set(answers.values()) == {(Kind.CONNACK, 0, bytes((0, Says.NOT_AUTHORIZED, 0)))}, answers


def _answer(wire: Wire, data: bytes, qos: int) -> bytes:
    """Return what a message is answered, after its handshake."""
    got = wire.ask(data, Kind.PUBACK if qos == 1 else Kind.PUBREC)
    if qos == 2 and reason_of(got) < REFUSED:
        wire.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)
    return got.body


@pytest.mark.parametrize("qos", [1, 2])
def test_answers_do_not_say_who_listens(fleet: Fleet, everyone: Credentials, qos: int) -> None:
    """Nobody, somebody, or only a foreign device: the answer is the same bytes, and never 0x10."""
    device, other = fleet.device(), fleet.device()
    own = {"unheard": device.topic("a"), "heard": device.topic("b"), "retained": device.topic("c")}
    foreign = {"unheard": "devices/nobody/x", "heard": other.topic("b"), "retained": other.topic("kept")}
    with Wire.to(fleet) as wire, Wire.to(fleet) as listener, Wire.to(fleet) as victim:
        listener.enter(everyone).subscribe(own["heard"], qos=2)
        victim.enter(other).subscribe(other.topic("#"), qos=2)
        for topic in (own["retained"], foreign["retained"]):
            listener.publish(topic, b"kept", qos=1, retain=True)
        wire.enter(device)
        for topics, expected in (own, b""), (foreign, None):
            answers = {
                _answer(wire, publish(topic, b"x", qos=qos, number=7, properties=more), qos)
                for topic in topics.values()
                for more in (b"", prop(Name.MESSAGE_EXPIRY, 1), prop(Name.RESPONSE_TOPIC, other.topic("x")))
            }
            assert len(answers) == 1
            (answer,) = answers
            assert answer[:2] == b"\0\7"
            assert answer[2:] == b"" if expected is not None else answer[2] == Says.NOT_AUTHORIZED
            assert other.client_id.encode() not in answer
        for topic in (own["retained"], foreign["retained"]):
            listener.publish(topic, b"", qos=1, retain=True)


# Retained messages


def test_retained_handling_tells_nothing(fleet: Fleet, everyone: Credentials) -> None:
    """A refused filter is answered the same, with every option, whether there is a retained message or not."""
    attacker, victim = fleet.device(), fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(everyone).publish(victim.topic("kept"), b"kept", qos=1, retain=True)
        wire.enter(attacker)
        answers = {
            wire.ask(subscribe(5, (topic_filter, handling << 4 | flags | 2), properties=more), Kind.SUBACK).body
            for topic_filter in (
                victim.topic("kept"),
                victim.topic("nothing"),
                "devices/nobody/x",
                "devices/+/kept",
                "#",
            )
            for handling in (0, 1, 2)
            for flags in (0, 4, 8)
            for more in (b"", prop(Name.SUBSCRIPTION_IDENTIFIER, 3))
        }
        (answer,) = answers
        assert answer[-1] == Says.NOT_AUTHORIZED
        assert wire.publications() == []
        backend.publish(victim.topic("kept"), b"", qos=1, retain=True)


def test_expiry_of_what_is_refused(fleet: Fleet, everyone: Credentials) -> None:
    """A refused message with an expiry neither replaces a retained one nor lets it expire."""
    attacker, victim = fleet.device(), fleet.device()
    kept = victim.topic("kept")
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(everyone).publish(kept, b"kept", qos=1, retain=True)
        wire.enter(attacker)
        for expiry in (0, 1):
            for payload in (b"forged", b""):
                more = prop(Name.MESSAGE_EXPIRY, expiry)
                got = wire.ask(publish(kept, payload, qos=1, retain=True, properties=more), Kind.PUBACK)
                assert reason_of(got) == Says.NOT_AUTHORIZED
        assert backend.subscribe(kept) == [0]
        assert [(got.payload, got.properties) for got in backend.hear()] == [(b"kept", ())]
        backend.publish(kept, b"", qos=1, retain=True)


# Properties


@BOTH_TRANSPORTS
def test_response_topic_grants_nothing(fleet: Fleet, everyone: Credentials, *, websocket: bool) -> None:
    """It is passed on, and neither who named it nor who was sent it may use it unless the scope says so."""
    asks, answers, victim = fleet.device(), fleet.device(), fleet.device()
    response = victim.topic("answers")
    with (
        Wire.to(fleet) as backend,
        Wire.to(fleet) as home,
        Wire.to(fleet, websocket=websocket) as one,
        Wire.to(fleet, websocket=websocket) as two,
    ):
        backend.enter(everyone).subscribe(asks.topic("#"))
        home.enter(victim).subscribe(victim.topic("#"))
        one.enter(asks)
        two.enter(answers).subscribe(answers.topic("#"))
        for wire, topic in (one, asks.topic("x")), (backend, answers.topic("x")):
            wire.send(publish(topic, b"ask", properties=prop(Name.RESPONSE_TOPIC, response)))
        for wire in (backend, two):
            (got,) = wire.hear()
            assert dict(got.properties)[Name.RESPONSE_TOPIC] == response
        for wire in (one, two):
            assert wire.subscribe(response) == [REFUSED]
            assert wire.publish(response, b"forged", qos=1) == Says.NOT_AUTHORIZED
            assert wire.publish(response, b"forged", qos=2, retain=True) == Says.NOT_AUTHORIZED
            wire.publish(response, b"forged")
        assert home.publications() == []


def test_response_information(fleet: Fleet) -> None:
    """Where a client may have answers sent is a topic of its own; nobody is given another's."""
    scopes = {"all_devices": True}, {"device_ids": (fleet.device().client_id,)}, {"subscribe": ("answers/#",)}
    for who in (fleet.device(), *(fleet.application(**scope) for scope in scopes)):
        with Wire.to(fleet) as wire:
            wire.enter(who, properties=prop(Name.REQUEST_RESPONSE, 1))
            told = wire.terms.get(Name.RESPONSE_INFORMATION)
            assert told is None or wire.subscribe(f"{told}answers") == [0]


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_belongs_to_one_client(fleet: Fleet, everyone: Credentials, qos: int, *, websocket: bool) -> None:
    """Subscription identifiers go to their own subscriber, and what CONNECT and SUBSCRIBE say to nobody."""
    device = fleet.device()
    topic = device.topic("x")
    numbers = {"first": 5, "second": 70_000, "without": 0}
    with Wire.to(fleet, websocket=websocket) as sender:
        sender.enter(device, properties=USERS)
        kept = publish(topic, b"kept", qos=1, retain=True, properties=prop(Name.CONTENT_TYPE, "kept"))
        sender.ask(kept, Kind.PUBACK)
        keys = {name: fleet.application() for name in numbers}
        for name, number in numbers.items():
            with Wire.to(fleet, websocket=websocket) as wire:
                wire.enter(keys[name], clean=False, properties=USERS)
                more = USERS + (prop(Name.SUBSCRIPTION_IDENTIFIER, number) if number else b"")
                wire.ask(subscribe(1, topic, device.topic("+/x"), qos=2, properties=more), Kind.SUBACK)
                own = ((Name.SUBSCRIPTION_IDENTIFIER, number),) if number else ()
                assert [got.properties for got in wire.hear()] == [((Name.CONTENT_TYPE, "kept"), *own)]
                sender.publish(topic, b"live", qos=qos)
                assert [got.properties for got in wire.hear()] == [own]
                wire.disconnect()
        passed_on = prop(Name.USER_PROPERTY, ("b", "2")) + prop(Name.USER_PROPERTY, ("a", "1"))
        sender.ask(publish(topic, b"away", qos=1, number=9, properties=passed_on), Kind.PUBACK)
        for queued, (name, number) in zip((3, 2, 1), numbers.items(), strict=True):
            with Wire.to(fleet, websocket=websocket) as wire:
                assert wire.enter(keys[name], clean=False).is_session_present
                assert SECRET_WORD not in repr(wire.terms)
                found = wire.hear(queued if qos else 1)
                own = ((Name.SUBSCRIPTION_IDENTIFIER, number),) if number else ()
                users = ((Name.USER_PROPERTY, ("b", "2")), (Name.USER_PROPERTY, ("a", "1")))
                assert found[-1].payload == b"away"
                assert found[-1].properties == (*users, *own)
                assert all(set(got.properties) <= {*users, *own} for got in found)


def test_identifier_from_a_publisher(fleet: Fleet, everyone: Credentials) -> None:
    """A client that sends one with its message is closed (3.3.4-6), and nobody is sent it."""
    device = fleet.device()
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(everyone).subscribe(device.topic("#"))
        wire.enter(device)
        wire.send(publish(device.topic("x"), b"no", properties=prop(Name.SUBSCRIPTION_IDENTIFIER, 5)))
        assert wire.is_closed_for(Says.PROTOCOL_ERROR)
        assert backend.publications() == []


# Sessions

LEAVING: dict[str, Callable[[Wire], None]] = {
    "connected": lambda _: None,
    "left": lambda wire: wire.disconnect(),
    "left_with_another_expiry": lambda wire: wire.send(
        packet(Kind.DISCONNECT, 0, b"\0" + as_properties(prop(Name.SESSION_EXPIRY, FOREVER)))
    ),
}


@pytest.mark.parametrize("leaving", LEAVING)
def test_session_expiry_of_a_deleted_device(fleet: Fleet, leaving: str) -> None:
    """However long its session was to be kept, nothing of it is left, nor comes back by what it sends then."""
    device = fleet.device()
    with Wire.to(fleet) as wire, fleet.store() as store:
        wire.enter(device, clean=False, properties=prop(Name.SESSION_EXPIRY, FOREVER))
        wire.subscribe(device.topic("#"), qos=1)
        LEAVING[leaving](wire)
        store.delete_device(device.client_id, actor="test")
        if leaving == "connected":
            with suppress(ConnectionError):
                wire.send(packet(Kind.DISCONNECT, 0, b"\0" + as_properties(prop(Name.SESSION_EXPIRY, FOREVER))))
        assert leaving == "left" or wire.is_closed_by_broker()
    with closing(sqlite3.connect(fleet.server.data_dir / "broker.db")) as look:
        query = "SELECT count(*) FROM sessions WHERE client_id = ? OR owner = ?"
        assert eventually(lambda: look.execute(query, (device.client_id, device.client_id)).fetchone() == (0,))
    assert not fleet.can_connect(device)
    heir = fleet.register(device.serial)
    with Wire.to(fleet) as wire:
        assert not wire.enter(heir, clean=False).is_session_present
