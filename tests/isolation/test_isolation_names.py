"""No spelling of a topic leads to somebody else's: not to publish, not to subscribe, not as a will, at no QoS."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, Will, connect, publish, subscribe
from tests.support.reasons import Says
from tests.support.versions import shared_code
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


NOT_AUTHORIZED, REFUSED = 5, 0x80

FOREIGN = {
    "foreign": "devices/{v}/state",
    "foreign_itself": "devices/{v}",
    "above": "devices",
    "above_with_slash": "devices/",
    "slash_before": "/devices/{o}/state",
    "slash_inside": "devices//{o}/state",
    "slashes": "///",
    "upper_case": "DEVICES/{o}/state",
    "dots_before": "./devices/{o}/state",
    "percent": "devices%2f{o}%2fstate",
    "backslash": "devices\\{o}\\state",
    "id_and_more": "devices/{o}0/state",
    "id_and_space": "devices/{o} /state",
    "id_and_line_end": "devices/{o}\n/state",
    "id_and_zero_width": "devices/{o}\u200b/state",
    "id_cut": "devices/{c}/state",
    "fullwidth_slash": "devices\uff0f{o}\uff0fstate",
    "combining": "devic\u0327es/{o}/state",
    "byte_order_mark": "\ufeffdevices/{o}/state",
    "placeholder": "devices/{{device_id}}/state",
    "system": "$SYS/broker/version",
    "dollar_alone": "$",
    "dollar_before": "$devices/{o}/state",
    "dollar_level": "$/devices/{o}/state",
    "shared": "$share/group/devices/{o}/state",
}
OWN_THAT_LOOK_FOREIGN = (
    "devices/{o}/../{v}/state",
    "devices/{o}/%2e%2e/{v}/state",
    "devices/{o}//devices/{v}/state",
    "devices/{o}/\\..\\{v}/state",
    "devices/{o}/$SYS/broker",
    "devices/{o}/$share/group/#",
)

WILD = {
    "everything": "#",
    "everything_below": "+/#",
    "levels": "+/+/+",
    "any_first": "+/{o}/#",
    "any_device": "devices/+/#",
    "any_device_state": "devices/+/state",
    "all_devices": "devices/#",
    "foreign_all": "devices/{v}/#",
    "shared_own": "$share/group/devices/{o}/#",
    "shared_everything": "$share/group/#",
    "queue": "$queue/devices/{v}/#",
    "system_all": "$SYS/#",
}

BROKEN = {
    "empty": b"",
    "nul": b"devices/{o}/\0",
    "not_utf8": b"devices/{o}/\xff",
    "surrogate": b"devices/{o}/\xed\xa0\x80",
    "overlong_slash": b"devices/{o}\xc0\xafx",
    "cut_character": b"devices/{o}/\xe2\x82",
}
BROKEN_FILTERS = {
    **BROKEN,
    "hash_inside": b"devices/{o}/#/x",
    "hash_in_a_level": b"devices/{o}/x#",
    "plus_in_a_level": b"devices/{o}/x+",
    "hash_doubled": b"devices/{o}/##",
}
BROKEN_TOPICS = {**BROKEN, "plus": b"devices/{o}/+", "hash": b"devices/{o}/#"}


@pytest.fixture(scope="module")
def people(fleet: Fleet) -> tuple[Credentials, Credentials, Credentials]:
    """Enrol victim, attacker, and a back end that may do everything."""
    return fleet.device(), fleet.device(), fleet.application(publish=("#",), subscribe=("#", "$SYS/#"))


@contextmanager
def _watched(fleet: Fleet, people: tuple[Credentials, ...], *, websocket: bool) -> Iterator[Wire]:
    """Yield the attacker's connection; in the end nobody may have heard a thing, and nothing may be kept."""
    victim, attacker, observer = people
    with Wire.to(fleet) as home, Wire.to(fleet) as watch, Wire.to(fleet, websocket=websocket) as wire:
        home.enter(victim).subscribe(victim.topic("#"), qos=1)
        watch.enter(observer).subscribe("#", qos=1)
        yield wire.enter(attacker)
        assert home.publications() == []
        assert watch.publications() == []
        assert watch.subscribe("#", "$SYS/#") == [0, 0]
        assert watch.publications() == []


def _spell(name: str | bytes, people: tuple[Credentials, ...]) -> bytes:
    victim, own = people[0].client_id, people[1].client_id
    if isinstance(name, bytes):
        return name.replace(b"{o}", own.encode())
    return name.format(v=victim, o=own, c=own[:-1]).encode()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_name(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], name: str, *, websocket: bool
) -> None:
    """Refused as a filter, acknowledged and dropped as a topic, CONNACK 5 as a will."""
    topic, attacker = _spell(FOREIGN[name], people), people[1]
    with _watched(fleet, people, websocket=websocket) as wire:
        own = attacker.topic("a")
        assert wire.subscribe(own, topic, own, qos=1) == [1, shared_code(1) if name == "shared" else REFUSED, 1]
        for qos in (0, 1, 2):
            for retain in (False, True):
                wire.publish(topic, b"forged", qos=qos, retain=retain)
        with Wire.to(fleet, websocket=websocket) as second:
            will = Will(topic, b"forged", retain=True)
            attempt = connect(attacker.client_id, attacker.key, attacker.secret, will=will)
            assert second.log_in(attempt) == NOT_AUTHORIZED
        wire.publications()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("name", WILD)
def test_wide_filter(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], name: str, *, websocket: bool
) -> None:
    """Refused, and nothing of the victim's comes by it, live or retained."""
    victim, attacker, observer = people
    wide, private = _spell(WILD[name], people), victim.topic("private")
    with Wire.to(fleet) as backend, Wire.to(fleet, websocket=websocket) as wire:
        backend.enter(observer).publish(private, b"kept", retain=True, qos=1)
        answer = shared_code(0) if name == "shared_own" else REFUSED
        assert wire.enter(attacker).subscribe(wide, attacker.topic("b")) == [answer, 0]
        backend.publish(private, b"live", qos=1)
        backend.publish(attacker.topic("b"), b"mine", qos=1)
        assert set(wire.payloads()) == {b"mine"}
        backend.publish(private, b"", retain=True, qos=1)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("retain", [False, True], ids=["live", "retained"])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("name", BROKEN_TOPICS)
def test_broken_topic(
    fleet: Fleet,
    people: tuple[Credentials, Credentials, Credentials],
    name: str,
    qos: int,
    *,
    retain: bool,
    websocket: bool,
) -> None:
    """Closes the connection and reaches nobody."""
    with _watched(fleet, people, websocket=websocket) as wire:
        wire.send(publish(_spell(BROKEN_TOPICS[name], people), b"forged", qos=qos, retain=retain))
        assert wire.is_closed_for(Says.BAD_TOPIC, Says.MALFORMED, Says.PROTOCOL_ERROR)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("name", BROKEN_FILTERS)
def test_broken_filter(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], name: str, *, websocket: bool
) -> None:
    """Closes the connection, also behind a good filter."""
    own = people[1].topic("a")
    with _watched(fleet, people, websocket=websocket) as wire:
        wire.send(subscribe(1, own, _spell(BROKEN_FILTERS[name], people)))
        assert wire.find(Kind.SUBACK) is None


@BOTH_TRANSPORTS
@pytest.mark.parametrize("name", OWN_THAT_LOOK_FOREIGN)
def test_own_name_that_looks_foreign(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], name: str, *, websocket: bool
) -> None:
    """Levels mean nothing but themselves: the name is the attacker's own, and what is said there stays there."""
    victim, attacker, _ = people
    own = _spell(name, people)
    topic = own.replace(b"#", b"x")
    with Wire.to(fleet) as home, Wire.to(fleet, websocket=websocket) as wire:
        home.enter(victim).subscribe(victim.topic("#"))
        assert wire.enter(attacker).subscribe(own) == [0]
        wire.publish(topic, b"mine")
        assert [message.topic.encode() for message in wire.publications()] == [topic]
        assert home.publications() == []
