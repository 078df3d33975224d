"""A topic alias of MQTT 5 is authorized as the topic that it stands for, is one connection's, and ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import Kind, connect, publish, reason_of
from tests.support.properties import Name, prop
from tests.support.reasons import Says
from tests.support.versions import only_5
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet

pytestmark = only_5

TEMPLATES = "devices/{device_id}/#,site/{tag:site}/#"
MOST = 16
"""`max_topic_aliases`, unless it is set."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose devices reach their own topics and those of their site."""
    topics = {"FLEETKEY_TOPICS__PUBLISH": TEMPLATES, "FLEETKEY_TOPICS__SUBSCRIBE": TEMPLATES}
    with running(tmp_path_factory.mktemp("server"), environment=topics) as fleet:
        yield fleet


@pytest.fixture
def observer(fleet: Fleet) -> Iterator[Wire]:
    """Listen to everything that is said from now on."""
    with Wire.to(fleet) as wire:
        wire.enter(fleet.application(publish=("#",), subscribe=("#",))).subscribe("#", qos=2)
        wire.publications()
        yield wire


def _aliased(alias: int, topic: str = "", payload: bytes = b"x", *, qos: int = 0, retain: bool = False) -> bytes:
    return publish(topic, payload, qos=qos, number=alias + 1, retain=retain, properties=prop(Name.TOPIC_ALIAS, alias))


def _answer(wire: Wire, data: bytes) -> int:
    """Return what a message of QoS 1 is answered."""
    return reason_of(wire.ask(data, Kind.PUBACK))


def _move(fleet: Fleet, device: Credentials, site: str) -> None:
    with fleet.store() as store:
        store.tag_device(device.client_id, {"site": site}, actor="test")


def _device(fleet: Fleet) -> Credentials:
    """Enrol a device at the site `north`."""
    device = fleet.device()
    _move(fleet, device, "north")
    return device


@BOTH_TRANSPORTS
def test_own_topic(fleet: Fleet, observer: Wire, *, websocket: bool) -> None:
    """Every message arrives with the topic that its alias stands for at that moment, and without that alias."""
    device = _device(fleet)
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device)
        wire.send(_aliased(1, device.topic("a"), b"1"), _aliased(MOST, device.topic("b"), b"2"))
        wire.send(_aliased(1, payload=b"3"), _aliased(MOST, payload=b"4", qos=1), _aliased(1, payload=b"5"))
        wire.send(_aliased(1, device.topic("c"), b"6"), _aliased(1, payload=b"7"))
        heard = observer.hear(7)
        assert [(got.topic, got.payload) for got in heard] == [
            (device.topic(name), b"%d" % number) for number, name in enumerate("ababacc", 1)
        ]
        assert [got.properties for got in heard] == [()] * 7


@BOTH_TRANSPORTS
def test_foreign_topic(fleet: Fleet, observer: Wire, *, websocket: bool) -> None:
    """An alias is no way around the scope: given or used, at any QoS, retained or not."""
    victim, attacker = _device(fleet), _device(fleet)
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(attacker)
        assert _answer(wire, _aliased(1, victim.topic("a"), b"forged", qos=1)) == Says.NOT_AUTHORIZED
        for retain in (False, True):
            wire.send(_aliased(1, payload=b"forged", retain=retain))
            assert _answer(wire, _aliased(1, payload=b"forged", qos=1, retain=retain)) == Says.NOT_AUTHORIZED
            got = wire.ask(_aliased(1, payload=b"forged", qos=2, retain=retain), Kind.PUBREC)
            assert reason_of(got) == Says.NOT_AUTHORIZED
        # Given to another topic, it stands for that alone, allowed or not.
        assert _answer(wire, _aliased(1, attacker.topic("a"), b"own", qos=1)) == 0
        assert _answer(wire, _aliased(1, payload=b"own", qos=1)) == 0
        assert _answer(wire, _aliased(1, victim.topic("a"), b"forged", qos=1)) == Says.NOT_AUTHORIZED
        assert _answer(wire, _aliased(1, payload=b"forged", qos=1)) == Says.NOT_AUTHORIZED
    assert [(got.topic, got.payload) for got in observer.publications()] == [(attacker.topic("a"), b"own")] * 2


@BOTH_TRANSPORTS
def test_scope_that_changed(fleet: Fleet, observer: Wire, *, websocket: bool) -> None:
    """The topic is decided anew for each message: refused once it is somebody else's, at every QoS, and back again."""
    device = _device(fleet)
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device)
        assert _answer(wire, _aliased(1, "site/north/a", b"1", qos=1)) == 0
        wire.send(_aliased(1, payload=b"2"), _aliased(1, payload=b"3"))
        _move(fleet, device, "south")
        assert eventually(lambda: wire.subscribe("site/south/x") == [0])
        wire.send(_aliased(1, payload=b"forged"), _aliased(1, payload=b"forged", retain=True))
        assert _answer(wire, _aliased(1, payload=b"forged", qos=1)) == Says.NOT_AUTHORIZED
        assert reason_of(wire.ask(_aliased(1, payload=b"forged", qos=2), Kind.PUBREC)) == Says.NOT_AUTHORIZED
        _move(fleet, device, "north")
        assert eventually(lambda: wire.subscribe("site/north/x") == [0])
        wire.send(_aliased(1, payload=b"4"))
        wire.settle()
    assert observer.payloads() == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("end", ["revoked", "deleted"])
def test_revocation(fleet: Fleet, observer: Wire, end: str) -> None:
    """An alias of a revoked key's connection publishes nothing more."""
    device = _device(fleet)
    with Wire.to(fleet) as wire, fleet.store() as store:
        wire.enter(device).send(_aliased(1, device.topic("a"), b"1"))
        wire.settle()
        if end == "revoked":
            store.revoke_key(device.key, actor="test")
        else:
            store.delete_device(device.client_id, actor="test")
        assert wire.is_told(Says.REVOKED)
        wire.send(_aliased(1, payload=b"too late"))
    assert observer.payloads() == [b"1"]


@BOTH_TRANSPORTS
@pytest.mark.parametrize("is_takeover", [False, True], ids=["reconnected", "taken_over"])
def test_end_of_the_connection(fleet: Fleet, observer: Wire, *, is_takeover: bool, websocket: bool) -> None:
    """It doesn't outlive its connection, though the session does."""
    device = _device(fleet)
    with Wire.to(fleet, websocket=websocket) as wire, Wire.to(fleet, websocket=websocket) as back:
        wire.enter(device, clean=False).send(_aliased(1, device.topic("a"), b"1"))
        wire.settle()
        if not is_takeover:
            wire.disconnect()
        assert back.enter(device, clean=False).is_session_present
        back.send(_aliased(1, payload=b"unknown"))
        assert back.is_closed_for(Says.PROTOCOL_ERROR)
    assert observer.payloads() == [b"1"]


def test_other_connection(fleet: Fleet, observer: Wire) -> None:
    """Connections of one key have aliases of their own: another's is unknown, and the same number may differ."""
    device, key = _device(fleet), fleet.application()
    with Wire.to(fleet) as one, Wire.to(fleet) as two, Wire.to(fleet) as three:
        for wire, name in (one, "one"), (two, "two"), (three, "three"):
            assert wire.log_in(_hello(key, name)) == 0
        one.send(_aliased(1, device.topic("one"), b"1"))
        two.send(_aliased(1, device.topic("two"), b"2"))
        one.settle()
        two.settle()
        one.send(_aliased(1, payload=b"1"))
        two.send(_aliased(1, payload=b"2"))
        three.send(_aliased(1, payload=b"unknown"))
        assert three.is_closed_for(Says.PROTOCOL_ERROR)
        one.settle()
        two.settle()
    heard = sorted((got.topic, got.payload) for got in observer.publications())
    assert heard == [(device.topic("one"), b"1")] * 2 + [(device.topic("two"), b"2")] * 2


def _hello(key: Credentials, name: str) -> bytes:
    return connect(f"{key.client_id}-{name}", key.key, key.secret)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("alias", [0, MOST + 1, 65_535])
def test_number_that_is_not_allowed(fleet: Fleet, observer: Wire, alias: int, qos: int, *, websocket: bool) -> None:
    """0, and what is over the server's maximum, closes the connection with 0x94, with a topic and without."""
    device = _device(fleet)
    for topic in (device.topic("a"), ""):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device)
            assert wire.terms[Name.TOPIC_ALIAS_MAXIMUM] == MOST
            wire.send(publish(topic, b"no", qos=qos, properties=prop(Name.TOPIC_ALIAS, alias)))
            assert wire.is_closed_for(Says.BAD_ALIAS)
    assert observer.payloads() == []


def test_aliases_of_the_server(fleet: Fleet) -> None:
    """A client that takes them gets each topic in full before its alias, anew on each connection; others get none."""
    device, key = _device(fleet), fleet.application()
    takes = prop(Name.SESSION_EXPIRY, 60) + prop(Name.TOPIC_ALIAS_MAXIMUM, 2)
    topics = [device.topic(name) for name in "abc"]
    with Wire.to(fleet) as sender, Wire.to(fleet) as without:
        sender.enter(device)
        without.enter(fleet.application()).subscribe(device.topic("#"))
        for turn in range(2):
            with Wire.to(fleet) as wire:
                wire.enter(key, clean=False, properties=takes).subscribe(device.topic("#"), qos=1)
                for topic in topics * 2:
                    sender.publish(topic, topic.encode(), qos=turn)
                known: dict[object, str] = {}
                for got in wire.hear(6):
                    alias = dict(got.properties).get(Name.TOPIC_ALIAS)
                    assert alias in {1, 2, None}
                    if got.topic and alias:
                        assert alias not in known
                        known[alias] = got.topic
                    assert (got.topic or known[alias]) == got.payload.decode()
                assert sorted(known.values()) == topics[:2]
        for got in without.hear(12):
            assert (got.topic, got.properties) == (got.payload.decode(), ())
