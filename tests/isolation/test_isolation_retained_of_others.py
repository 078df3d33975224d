"""A retained message is its publisher's: nobody else replaces, clears or sees it, and `$` is the broker's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will, connect
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet


NOT_AUTHORIZED, REFUSED = 5, 0x80


@pytest.fixture(scope="module")
def people(fleet: Fleet) -> tuple[Credentials, Credentials, Credentials]:
    """Enrol victim, attacker, and a back end that may do everything."""
    return fleet.device(), fleet.device(), fleet.application(publish=("#",), subscribe=("#", "$SYS/#"))


def _kept(fleet: Fleet, observer: Credentials, *filters: str) -> list[tuple[str, bytes]]:
    """Return what is retained."""
    with Wire.to(fleet) as wire:
        wire.enter(observer).subscribe(*filters)
        heard = wire.publications()
        assert all(message.retain for message in heard)
        return [(message.topic, message.payload) for message in heard]


@BOTH_TRANSPORTS
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("payload", [b"", b"forged"], ids=["clear", "replace"])
def test_retained_of_another(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], payload: bytes, qos: int, *, websocket: bool
) -> None:
    """Neither cleared nor replaced, by message or by will."""
    victim, attacker, observer = people
    topic = victim.topic("state")
    with Wire.to(fleet) as home, Wire.to(fleet, websocket=websocket) as wire:
        home.enter(victim).publish(topic, b"mine", qos=1, retain=True)
        wire.enter(attacker).publish(topic, payload, qos=qos, retain=True)
        with Wire.to(fleet, websocket=websocket) as second:
            will = Will(topic, payload, retain=True)
            attempt = connect(attacker.client_id, attacker.key, attacker.secret, will=will)
            assert second.log_in(attempt) == NOT_AUTHORIZED
        assert _kept(fleet, observer, "devices/#") == [(topic, b"mine")]
        home.publish(topic, b"", qos=1, retain=True)


@BOTH_TRANSPORTS
def test_retained_comes_to_nobody_else(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], *, websocket: bool
) -> None:
    """A subscription brings what is retained on one's own topics, however many others there are."""
    victim, attacker, _ = people
    with Wire.to(fleet) as home, Wire.to(fleet, websocket=websocket) as wire:
        home.enter(victim)
        wire.enter(attacker)
        for number in range(20):
            home.publish(victim.topic(f"kept/{number}"), b"theirs", retain=True)
            wire.publish(attacker.topic(f"kept/{number}"), b"mine", retain=True)
        assert wire.subscribe(attacker.topic("#"), victim.topic("kept/0"), victim.topic("kept/+")) == [
            0,
            REFUSED,
            REFUSED,
        ]
        heard = wire.publications()
        assert sorted(message.topic for message in heard) == sorted(attacker.topic(f"kept/{n}") for n in range(20))
        for number in range(20):
            home.publish(victim.topic(f"kept/{number}"), b"", retain=True)
            wire.publish(attacker.topic(f"kept/{number}"), b"", retain=True)


@BOTH_TRANSPORTS
def test_retained_for_one_device(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], *, websocket: bool
) -> None:
    """A back end for one device sees and clears that device's retained messages, and no other's."""
    victim, other, observer = people
    backend = fleet.application(device_ids=(other.client_id,))
    with Wire.to(fleet) as home, Wire.to(fleet) as second, Wire.to(fleet, websocket=websocket) as wire:
        home.enter(victim).publish(victim.topic("a"), b"theirs", qos=1, retain=True)
        second.enter(other).publish(other.topic("a"), b"other", qos=1, retain=True)
        wire.enter(backend)
        assert wire.subscribe("#", "devices/+/a", other.topic("#"), victim.topic("a")) == [REFUSED, 0, 0, REFUSED]
        # Once for each filter that was granted.
        heard = [(message.topic, message.payload) for message in wire.publications()]
        assert heard == [(other.topic("a"), b"other")] * 2
        for device in (victim, other):
            wire.publish(device.topic("a"), b"", qos=1, retain=True)
        assert _kept(fleet, observer, "#") == [(victim.topic("a"), b"theirs")]
        home.publish(victim.topic("a"), b"", qos=1, retain=True)


@BOTH_TRANSPORTS
@pytest.mark.parametrize("topic", ["$SYS/broker/version", "$SYS/x", "$share/g/x", "$", "$x/y"])
def test_dollar_publish_with_every_right(
    fleet: Fleet, people: tuple[Credentials, Credentials, Credentials], topic: str, *, websocket: bool
) -> None:
    """Not even who may publish everything publishes to `$…`, live or retained."""
    observer = people[2]
    with Wire.to(fleet) as watch, Wire.to(fleet, websocket=websocket) as wire:
        watch.enter(observer)
        assert watch.subscribe("#", "$SYS/#") == [0, 0]
        watch.publications()
        wire.enter(fleet.application(publish=("#", "$SYS/#", "$x/y"), subscribe=("#",)))
        for qos in (0, 1, 2):
            wire.publish(topic, b"forged", qos=qos, retain=True)
        assert watch.publications() == []
        assert (topic, b"forged") not in _kept(fleet, observer, "#", "$SYS/#")
