"""Clients of MQTT 5 and of 3.1.1 hear each other at each combination of QoS; properties go no further than they can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, acknowledgement, number_of, publish, subscribe
from tests.support.properties import Name, prop
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, speaking
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet

PROPERTIES = (
    prop(Name.PAYLOAD_FORMAT, 1)
    + prop(Name.MESSAGE_EXPIRY, 1_000)
    + prop(Name.CONTENT_TYPE, "text/plain")
    + prop(Name.RESPONSE_TOPIC, "devices/x/answers")
    + prop(Name.CORRELATION_DATA, b"\0\1")
    + prop(Name.USER_PROPERTY, ("a", "1"))
)
NAMES = [Name.PAYLOAD_FORMAT, Name.MESSAGE_EXPIRY, Name.CONTENT_TYPE, Name.RESPONSE_TOPIC, Name.CORRELATION_DATA]
OTHER = {LEVEL_3_1_1: LEVEL_5, LEVEL_5: LEVEL_3_1_1}
QOS = (0, 1, 2)


def _publish(wire: Wire, topic: str, payload: bytes, qos: int, *, retain: bool = False) -> None:
    """Publish with every property that a message may have, if the version has properties."""
    more = PROPERTIES if wire.level == LEVEL_5 else b""
    number = wire.new_number()
    wire.send(publish(topic, payload, qos=qos, number=number, retain=retain, level=wire.level, properties=more))
    if qos:
        assert number_of(wire.receive(Kind.PUBACK if qos == 1 else Kind.PUBREC)) == number
    if qos == 2:
        assert number_of(wire.ask(acknowledgement(Kind.PUBREL, number), Kind.PUBCOMP)) == number
    wire.settle()


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("how", ["live", "retained", "queued"])
def test_every_qos(fleet: Fleet, version: int, how: str, *, websocket: bool) -> None:
    """A message of one version comes to a client of the other as that one knows it: whole, and with nothing beside it.

    So that it does within one version, too, where it keeps its properties.
    """
    device = fleet.device()
    for level in (OTHER[version], version):
        with Wire.to(fleet, websocket=websocket) as sender:
            sender.enter(device)
            for granted in QOS:
                _hear(fleet, sender, fleet.application(), level, how, device.topic(f"{level}/{granted}"), granted)


@BOTH_TRANSPORTS
def test_session_of_the_other_version(fleet: Fleet, backend_key: Credentials, version: int, *, websocket: bool) -> None:
    """A client may come back to its session in the other version, and gets what waits as that one says it."""
    device = fleet.device()
    more = prop(Name.SUBSCRIPTION_IDENTIFIER, 7) if version == LEVEL_5 else b""
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device, clean=False)
        wire.ask(subscribe(1, device.topic("#"), qos=2, properties=more), Kind.SUBACK)
        wire.disconnect()
    with speaking(LEVEL_5), Wire.to(fleet) as backend:
        backend.enter(backend_key)
        for turn in range(3):
            _publish(backend, device.topic("x"), b"%d" % turn, 1 + turn % 2)
            level = version if turn == 1 else OTHER[version]
            with speaking(level), Wire.to(fleet, websocket=websocket) as wire:
                assert wire.enter(device, clean=False).is_session_present
                assert wire.publish(device.topic("y"), b"own", qos=1) == 0
                heard = wire.hear(2)
                assert [(got.payload, got.qos) for got in heard] == [(b"%d" % turn, 1 + turn % 2), (b"own", 1)]
                identifier = [Name.SUBSCRIPTION_IDENTIFIER] if version == level == LEVEL_5 else []
                expected = [*NAMES, Name.USER_PROPERTY, *identifier] if level == LEVEL_5 else []
                assert sorted(name for name, _ in heard[0].properties) == sorted(expected)
                assert [name for name, _ in heard[1].properties] == identifier
                wire.disconnect()


def _hear(fleet: Fleet, sender: Wire, who: Credentials, level: int, how: str, topic: str, granted: int) -> None:
    """Publish at each QoS to a subscriber of a version, and check what it gets."""
    with speaking(level):
        if how == "retained":
            for qos in QOS:
                _publish(sender, f"{topic}/{qos}", b"%d" % qos, qos, retain=True)
        with Wire.to(fleet) as wire:
            wire.enter(who, clean=False)
            assert wire.subscribe(f"{topic}/#", qos=granted) == [granted]
            if how == "queued":
                wire.disconnect()
            if how != "retained":
                for qos in QOS:
                    _publish(sender, f"{topic}/{qos}", b"%d" % qos, qos)
            expected = [(qos, min(qos, granted)) for qos in QOS if how != "queued" or min(qos, granted)]
            with Wire.to(fleet) as back:
                there = back.enter(who, clean=False) if how == "queued" else wire
                heard = sorted(there.hear(len(expected)), key=lambda got: got.payload)
                assert [(int(got.payload), got.qos) for got in heard] == expected
                assert there.publications() == []
            keeps = sender.level == level == LEVEL_5
            for got in heard:
                assert got.topic == f"{topic}/{got.payload.decode()}"
                assert got.retain == (how == "retained")
                names = [name for name, _ in got.properties]
                assert sorted(names) == sorted([*NAMES, Name.USER_PROPERTY] if keeps else [])
        for qos in QOS:
            _publish(sender, f"{topic}/{qos}", b"", 0, retain=True)
