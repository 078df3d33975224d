"""What the operator does on the command line lasts: after the device's next registration, and while no server ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.command_line import cli
from tests.support.fleet import Fleet
from tests.support.server import NO_LIMITS, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fleet import Credentials

COMMANDS = {
    "key_revoked": ("keys", "revoke", "{key}"),
    "device_disabled": ("devices", "disable", "{id}"),
    "device_deleted": ("devices", "delete", "{id}"),
}


def _run(fleet: Fleet, command: tuple[str, ...], who: Credentials) -> None:
    words = [word.format(key=who.key, id=who.client_id) for word in command]
    ended = cli(*words, data_dir=fleet.server.data_dir)
    assert ended.status == 0, ended.err


def test_register_after_delete(fleet: Fleet) -> None:
    """A listed serial whose device was deleted is a new device; the old key stays dead."""
    who = fleet.device()
    _run(fleet, COMMANDS["device_deleted"], who)
    again = fleet.register(who.serial)
    assert again.client_id != who.client_id
    assert fleet.can_connect(again)
    assert not fleet.can_connect(who)


def test_revoked_while_down(tmp_path: Path) -> None:
    """What the operator does while no server runs holds when one starts."""
    with ServerProcess(tmp_path, environment=NO_LIMITS) as server:
        fleet = Fleet(server)
        out = {name: fleet.device() for name in COMMANDS}
        kept = fleet.device()
        assert all(fleet.can_connect(who) for who in out.values())
        server.terminate()
        for name, who in out.items():
            _run(fleet, COMMANDS[name], who)
        server.start()
        assert not any(fleet.can_connect(who) for who in out.values())
        assert fleet.can_connect(kept)
