"""What MQTT 5 lets the broker say about what it refuses and why it ends a connection, where 3.1.1 is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.measure import log_lines
from tests.support.packets import Kind, properties_of, publish, subscribe
from tests.support.properties import Name, prop
from tests.support.reasons import Says
from tests.support.versions import only_5
from tests.support.waiting import eventually
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet

pytestmark = only_5


@pytest.fixture(scope="module")
def victim(fleet: Fleet) -> Credentials:
    """Enrol a device that nobody may hear of."""
    return fleet.device()


@BOTH_TRANSPORTS
def test_refused_publish(fleet: Fleet, victim: Credentials, *, websocket: bool) -> None:
    """0x87 at QoS 1 and 2, silence at QoS 0, whatever was published; the connection stays, and the log has a line."""
    device = fleet.device()
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(device)
        for topic in (victim.topic("state"), "devices/nobody/x", "other", "$SYS/x"):
            for retain in (False, True):
                wire.publish(topic, b"forged", retain=retain)
                assert wire.publish(topic, b"forged", qos=1, retain=retain) == Says.NOT_AUTHORIZED
                assert wire.publish(topic, b"forged", qos=2, retain=retain) == Says.NOT_AUTHORIZED
        assert wire.publish(device.topic("state"), b"own", qos=2) == 0
    # Lines of level info are written a moment later.
    assert eventually(lambda: len(log_lines(fleet, "topic_refused", client_id=device.client_id)) == 1)


@BOTH_TRANSPORTS
def test_reason_strings(fleet: Fleet, victim: Credentials, *, websocket: bool) -> None:
    """They say what is the device's own matter and name nobody; a client that wants none gets none (3.1.2.11.7)."""
    device = fleet.device()
    asked = (
        (publish(victim.topic("state"), qos=1, number=5), Kind.PUBACK),
        (publish(victim.topic("state"), qos=2, number=6), Kind.PUBREC),
        (subscribe(7, victim.topic("#")), Kind.SUBACK),
    )
    for wants, more in (True, b""), (False, prop(Name.REQUEST_PROBLEM, 0)):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(device, properties=more)
            for data, kind in asked:
                told = dict(properties_of(wire.ask(data, kind))).get(Name.REASON_STRING)
                assert (told is not None) == wants
                assert victim.client_id not in str(told)
                assert victim.key not in str(told)


@BOTH_TRANSPORTS
def test_keep_alive(fleet: Fleet, *, websocket: bool) -> None:
    """A client that is silent for 1.5 times its keep-alive is told so (3.1.2-22)."""
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(fleet.device(), keep_alive_seconds=1)
        assert wire.is_closed_for(Says.KEEP_ALIVE)
