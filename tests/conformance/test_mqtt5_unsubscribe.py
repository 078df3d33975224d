"""UNSUBSCRIBE and UNSUBACK of MQTT 5 (3.10, 3.11): reason codes and properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Kind, codes_of, number_of, properties_of, unsubscribe
from tests.support.properties import Name, prop

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

REMOVED, NOT_THERE = 0x00, 0x11


def test_codes(mqtt: Clients) -> None:
    """There is a code for each filter, in order: removed, or no such subscription (3.11.3-1, 3.11.3-2)."""
    there = [mqtt.topic("a"), mqtt.topic("+"), f"$share/g/{mqtt.topic('#')}"]
    wire = mqtt.subscriber(*there)
    asked = {
        mqtt.topic("b"): NOT_THERE,
        there[0]: REMOVED,
        mqtt.topic("#"): NOT_THERE,
        there[2]: REMOVED,
        "$share/other/" + mqtt.topic("#"): NOT_THERE,
        there[1]: REMOVED,
    }
    for codes in (list(asked.values()), [NOT_THERE] * len(asked)):
        got = wire.ask(unsubscribe(9, *asked), Kind.UNSUBACK)
        assert (number_of(got), codes_of(got)) == (9, codes)


def test_what_exists_elsewhere(mqtt: Clients) -> None:
    """A filter of another session, or outside of the scope, is answered like one that nobody has (3.11.3-2)."""
    device = mqtt.fleet.device()
    mqtt.subscriber("elsewhere", f"$share/g/{device.topic('x')}")
    wire = mqtt.connect(device.client_id, key=device)
    got = wire.ask(unsubscribe(9, "elsewhere", "nowhere", f"$share/g/{device.topic('x')}"), Kind.UNSUBACK)
    assert codes_of(got) == [NOT_THERE] * 3


@pytest.mark.parametrize("properties", [b"", prop(Name.MAXIMUM_PACKET_SIZE, 24), prop(Name.REQUEST_PROBLEM, 0)])
def test_no_properties(mqtt: Clients, properties: bytes) -> None:
    """An UNSUBACK has no reason string and no user properties, so it is never too long (3.11.2-1, 3.11.2-2)."""
    wire = mqtt.connect(properties=properties)
    sent = unsubscribe(9, mqtt.topic("x"), properties=prop(Name.USER_PROPERTY, ("a", "b")) * 2)
    got = wire.ask(sent, Kind.UNSUBACK)
    assert (properties_of(got), codes_of(got)) == ([], [NOT_THERE])


@pytest.mark.parametrize("properties", [prop(Name.SUBSCRIPTION_IDENTIFIER, 1), prop(Name.REASON_STRING, "x")])
def test_broken_properties(mqtt: Clients, properties: bytes) -> None:
    """A property of other packets closes the connection, and the subscription stays (4.13.1-1)."""
    name = mqtt.name()
    wire = mqtt.subscriber(mqtt.topic("x"), qos=1, client_id=name, clean=False)
    wire.send(unsubscribe(1, mqtt.topic("x"), properties=properties))
    assert wire.is_closed_for(0x81)
    mqtt.send(mqtt.topic("x"), b"1", qos=1)
    assert mqtt.connect(name, clean=False).payloads() == [b"1"]
