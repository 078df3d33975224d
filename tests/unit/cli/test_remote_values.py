"""What a server answers becomes the registry's value again."""

from __future__ import annotations

import msgspec
import pytest

from fleetkey.cli.remote import values
from fleetkey.management import device_fields
from fleetkey.registration.api.answers import DeviceAnswer
from fleetkey.registry import Device, DevicePolicy, DeviceState, Reregistration

EVERYTHING = DevicePolicy(
    reregistration=Reregistration.DENY,
    grace_seconds=0,
    max_keys=3,
    key_lifetime_seconds=0,
    publish=("up/{device_id}",),
    subscribe=("down/{device_id}", "all"),
)


@pytest.mark.parametrize("policy", [DevicePolicy(), DevicePolicy(grace_seconds=60), EVERYTHING])
def test_device_there_and_back(policy: DevicePolicy) -> None:
    """A device is the same behind the API, also where its policy says 0, or nothing."""
    device = Device(
        device_id="0" * 24,
        serial="SN-1",
        state=DeviceState.ACTIVE,
        tags={"site": "north"},
        profile="pump",
        policy=policy,
        created_at=1,
        updated_at=2,
    )
    answered = msgspec.json.encode(device_fields(device))
    assert values.device(msgspec.json.decode(answered, type=DeviceAnswer)) == device
