"""Client identifiers (3.1.3.1) and taking a connection over (3.1.4)."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will, connect
from tests.support.versions import EACH_VERSION
from tests.support.wire_clients import EVERYTHING

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients


TAKEN_OVER = 0x8E
CHARACTERS = string.digits + string.ascii_letters


@EACH_VERSION
def test_every_client_id_of_the_standard(mqtt: Clients) -> None:
    """Ids of 1 to 23 digits and letters are taken, every one of them (3.1.3-5).

    MQTT 5: 3.1.3-5.
    """
    twice = CHARACTERS * 2
    names = {*CHARACTERS, *(twice[length * 2 : length * 3] for length in range(1, 24))}
    names |= {"0" * 23, "f" * 23, string.ascii_lowercase[:23], string.ascii_uppercase[:23], CHARACTERS[-23:]}
    wires = [mqtt.connect(name) for name in sorted(names)]
    for wire in wires:
        wire.settle()


@EACH_VERSION
def test_client_id_identifies_the_session(mqtt: Clients) -> None:
    """State belongs to the exact client id, and to nothing else of the connection (3.1.3-2).

    MQTT 5: 3.1.3-2.
    """
    name = mqtt.name()
    one = mqtt.subscriber(mqtt.topic("one"), qos=1, client_id=name, clean=False)
    two = mqtt.subscriber(mqtt.topic("two"), qos=1, client_id=name.lower(), clean=False)
    one.disconnect()
    two.disconnect()
    mqtt.send(mqtt.topic("one"), b"1", qos=1)
    mqtt.send(mqtt.topic("two"), b"2", qos=1)
    for other in name + "x", name[:-1], " " + name:
        assert not mqtt.connect(other, clean=False).is_session_present
    two, one = mqtt.connect(name.lower(), clean=False), mqtt.connect(name, clean=False)
    assert one.is_session_present
    assert two.is_session_present
    assert (one.payloads(), two.payloads()) == ([b"1"], [b"2"])


def test_empty_client_id(mqtt: Clients) -> None:
    """Every client without an id is given one of its own, and is served like any other (3.1.3-6)."""
    wires = [mqtt.connect("") for _ in range(3)]
    for number, wire in enumerate(wires):
        assert not wire.is_session_present
        assert wire.subscribe(mqtt.topic(str(number)), qos=1) == [1]
    for number in range(len(wires)):
        mqtt.send(mqtt.topic(str(number)), str(number).encode(), qos=1)
    assert [wire.payloads() for wire in wires] == [[b"0"], [b"1"], [b"2"]]


def test_empty_client_id_of_a_session_to_keep(mqtt: Clients) -> None:
    """No id and CleanSession 0: CONNACK 2, session present 0, closed (3.1.3-8)."""
    wire = mqtt.open()
    assert wire.log_in(mqtt.hello("", clean=False)) == 2
    assert not wire.is_session_present
    assert wire.is_closed_by_broker()


@EACH_VERSION
@pytest.mark.parametrize("clean", [True, False])
def test_client_id_of_another_principal(mqtt: Clients, *, clean: bool) -> None:
    """An id that is another key's is rejected: CONNACK 2, closed, and its owner goes on undisturbed (3.1.3-9).

    MQTT 5: 3.1.3-8, 3.1.4-2.
    """
    name = mqtt.name()
    owner = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=name, clean=False)
    wire = mqtt.open()
    other = mqtt.fleet.application(**EVERYTHING)
    assert wire.log_in(mqtt.hello(name, clean=clean, key=other)) == 2
    assert not wire.is_session_present
    assert wire.is_closed_by_broker()
    owner.publish(mqtt.topic("x"), b"1", qos=1)
    assert owner.payloads() == [b"1"]


@EACH_VERSION
@pytest.mark.parametrize("new_is_clean", [True, False])
@pytest.mark.parametrize("old_is_clean", [True, False])
def test_take_over(mqtt: Clients, *, old_is_clean: bool, new_is_clean: bool) -> None:
    """A client with the id of one that is connected takes its place: the older one is disconnected (3.1.4-2).

    MQTT 5: 3.1.4-3.
    """
    name, topic = mqtt.name(), mqtt.topic("x")
    witness = mqtt.subscriber(mqtt.topic("will"))
    old = mqtt.connect(name, clean=old_is_clean, will=Will(mqtt.topic("will")))
    old.subscribe(topic, qos=1)
    new = mqtt.connect(name, clean=new_is_clean)
    assert old.is_closed_for(TAKEN_OVER)
    assert new.is_session_present == (not old_is_clean and not new_is_clean)
    assert witness.publication().payload == b"gone"
    new.subscribe(mqtt.topic("new"), qos=1)
    new.publish(topic, b"1", qos=1)
    new.publish(mqtt.topic("new"), b"2", qos=1)
    assert new.payloads() == ([b"1", b"2"] if new.is_session_present else [b"2"])


@EACH_VERSION
def test_take_over_by_a_device(mqtt: Clients) -> None:
    """The same for a device, whose client id is its device id (3.1.4-2).

    MQTT 5: 3.1.4-3.
    """
    device = mqtt.fleet.device()
    old = mqtt.connect(device.client_id, key=device)
    new = mqtt.connect(device.client_id, key=device)
    assert old.is_closed_for(TAKEN_OVER)
    new.settle()


def test_take_over_many_times(mqtt: Clients) -> None:
    """One is left of many that want to be the same client (3.1.4-2)."""
    name = mqtt.name()
    wires = [mqtt.connect(name, clean=False) for _ in range(20)]
    assert all(wire.is_closed_by_broker() for wire in wires[:-1])
    wires[-1].settle()


def test_refused_take_over(mqtt: Clients) -> None:
    """A CONNECT that is refused disconnects nobody (3.1.4-2 holds for a client that is let in)."""
    name = mqtt.name()
    live = mqtt.connect(name)
    assert mqtt.open().log_in(connect(name, mqtt.key.key, "wrong")) == 5
    live.settle()
