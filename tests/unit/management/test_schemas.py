"""What is shown of the registry's values."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.access import Secret
from fleetkey.management.schemas import CreatedKeyAnswer, CreatedTokenAnswer, DeviceAnswer, KeyAnswer, TokenAnswer, when
from fleetkey.registry import (
    AccessKey,
    Device,
    DevicePolicy,
    DeviceState,
    KeyKind,
    KeyStatus,
    Reregistration,
    Role,
    Token,
)

SECRET = "5" * 64
EVERYTHING = DevicePolicy(
    reregistration=Reregistration.DENY,
    grace_seconds=0,
    max_keys=3,
    key_lifetime_seconds=0,
    publish=("up/{device_id}",),
    subscribe=("down/{device_id}", "all"),
    max_messages_per_second=0,
    max_bytes_per_second=1,
)
POLICIES = {
    "nothing": (DevicePolicy(), {}),
    "one": (DevicePolicy(grace_seconds=60), {"grace_seconds": 60}),
    "everything": (
        EVERYTHING,
        {
            "reregistration": "deny",
            "grace_seconds": 0,
            "max_keys": 3,
            "key_lifetime_seconds": 0,
            "publish": ["up/{device_id}"],
            "subscribe": ["down/{device_id}", "all"],
            "max_messages_per_second": 0,
            "max_bytes_per_second": 1,
        },
    ),
}


@given(st.integers(0, 253_402_300_799_999))
def test_when(milliseconds: int) -> None:
    """A time is ISO 8601 in UTC to the millisecond, up to the year 9999."""
    expected = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    assert when(milliseconds) == expected.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_never() -> None:
    """What never was has no time."""
    assert when(None) is None


@pytest.mark.parametrize("name", POLICIES)
def test_device_there_and_back(name: str) -> None:
    """A device reads the same behind the API; of its policy, 0 is shown and what it leaves open isn't."""
    policy, shown = POLICIES[name]
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
    answer = DeviceAnswer.of(device)
    encoded = msgspec.json.encode(answer)
    assert msgspec.json.decode(encoded, type=DeviceAnswer) == answer
    assert msgspec.json.decode(encoded)["policy"] == shown


def test_secrets_in_repr() -> None:
    """What shows a new secret to whoever asked for it shows it nowhere else, and nothing afterwards."""
    key = KeyAnswer.of(
        AccessKey(
            key="0" * 32,
            kind=KeyKind.APPLICATION,
            status=KeyStatus.ACTIVE,
            device_id=None,
            name="backend",
            scope=None,
            created_at=1,
            first_connected_at=None,
            expires_at=None,
            retired_at=None,
            retired_reason=None,
        )
    )
    token = TokenAnswer.of(
        Token(
            token_id="0" * 12,
            name="ci",
            role=Role.VIEWER,
            created_at=1,
            created_by="test",
            expires_at=None,
            revoked_at=None,
        )
    )
    created_key = CreatedKeyAnswer.with_secret(key, Secret(SECRET))
    created_token = CreatedTokenAnswer.with_text(token, Secret(f"fkt_{token.token_id}_{SECRET}"))
    assert created_key.secret in msgspec.json.encode(created_key).decode()
    assert created_token.token in msgspec.json.encode(created_token).decode()
    assert (
        SECRET not in f"{created_key!r} {created_token!r} {created_key.without_secret()} {created_token.without_text()}"
    )
    assert (created_key.without_secret(), created_token.without_text()) == (key, token)
