"""Bounds on what MQTT 5 packets say besides topic and payload: who exceeds one is told, and so is the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.measure import bound_count, log_lines
from tests.support.packets import connect, publish
from tests.support.properties import Name, prop
from tests.support.versions import only_5
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

QUOTA_EXCEEDED, ALIAS_INVALID = 0x97, 0x94
USER = prop(Name.USER_PROPERTY, ("a", "b"))
LONG = prop(Name.USER_PROPERTY, ("a", "b" * 16_384))

pytestmark = only_5


@pytest.mark.parametrize(
    ("bound", "properties", "reason"),
    [
        ("max_user_properties", USER * 65, QUOTA_EXCEEDED),
        ("max_property_bytes", LONG, QUOTA_EXCEEDED),
        ("max_topic_aliases", prop(Name.TOPIC_ALIAS, 17), ALIAS_INVALID),
    ],
)
def test_exceeded(fleet: Fleet, bound: str, properties: bytes, reason: int) -> None:
    """The client is disconnected with the reason; the bound is counted, and named in the log with whose it was."""
    device, before = fleet.device(), bound_count(fleet, bound)
    with Wire.to(fleet) as wire:
        wire.enter(device)
        wire.send(publish(device.topic("a"), properties=properties))
        assert wire.is_closed_for(reason)
    assert bound_count(fleet, bound) == before + 1
    assert eventually(lambda: log_lines(fleet, "bound_reached", bound=bound, client_id=device.client_id))


def test_code_in_the_log(fleet: Fleet) -> None:
    """A refused login is logged with the code that the client got."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        assert wire.log_in(connect(device.client_id, device.key, "0" * 64)) == 5
        assert wire.reason == 0x87
    assert eventually(lambda: log_lines(fleet, "login_refused", key=device.key, code=0x87))
