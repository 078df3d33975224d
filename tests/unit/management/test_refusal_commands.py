"""The command to paste for a refusal is complete and safe to paste, or there is none."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from fleetkey.management import command_for
from fleetkey.registry import RefusalCount, RefusalListener, RefusalReason, RefusalStage, shown_claim


def refused(reason: RefusalReason, **claims: Any) -> RefusalCount:
    """Return a refusal."""
    return RefusalCount(
        stage=RefusalStage.CONNECT,
        reason=reason,
        count=1,
        first_at=0,
        last_at=0,
        listener=RefusalListener.MQTT,
        address="",
        **claims,
    )


@pytest.mark.parametrize(
    ("reason", "claims", "command"),
    [
        (RefusalReason.PENDING, {"device_id": "0" * 24}, f"fleetkey devices approve {'0' * 24}"),
        (RefusalReason.PENDING, {"serial": "S1"}, None),
        (RefusalReason.NOT_LISTED, {"serial": "S1"}, "fleetkey serials add S1"),
        (RefusalReason.NOT_LISTED, {"serial": "$(id)"}, "fleetkey serials add '$(id)'"),
        (RefusalReason.NOT_LISTED, {"serial": "--help"}, "fleetkey serials add -- --help"),
        (RefusalReason.TOO_MANY_FOR_SERIAL, {"serial": "-x;y"}, "fleetkey audit --serial='-x;y'"),
        (RefusalReason.NOT_LISTED, {"serial": shown_claim("S\n1")}, None),
        (RefusalReason.NOT_LISTED, {"serial": shown_claim("S" * 200)}, None),
        (RefusalReason.TLS_ON_PLAIN_PORT, {}, "fleetkey doctor"),
        (RefusalReason.PROTOCOL_5, {}, None),
    ],
)
def test_command_for(reason: RefusalReason, claims: dict[str, str], command: str | None) -> None:
    """What a client claims is one word of the command, whatever it is."""
    assert command_for(refused(reason, **claims)) == command


@pytest.mark.parametrize("reason", RefusalReason)
def test_commands_filled(reason: RefusalReason) -> None:
    """No placeholder is left, and a hostile claim stays one word."""
    hostile = "'; touch x; {key} \u00e9"
    command = command_for(refused(reason, serial=hostile, key="0" * 32, device_id="0" * 24))
    if command is not None:
        words = shlex.split(command)
        assert words[0] == "fleetkey"
        assert "touch" not in words
        assert not any("{" in word for word in words if hostile not in word)
        assert hostile in words or f"--serial={hostile}" in words or "{serial}" not in reason.command
