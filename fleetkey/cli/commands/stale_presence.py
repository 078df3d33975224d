"""A note that the online states in the registry are stale while no server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.cli.output import note
from fleetkey.management import DeviceFilter, KeyFilter
from fleetkey.operations import serving_pid
from fleetkey.registry import KeyKind, store_path

if TYPE_CHECKING:
    from fleetkey.config import Settings
    from fleetkey.management import Management

__all__ = ["note_stale_presence"]

NOTE = "no server is running on this registry: what is shown as online was online when the last server was killed"


def note_stale_presence(fleet: Management, settings: Settings) -> None:
    """Note on standard error that those shown as online are not: a killed server could not record disconnections."""
    if serving_pid(store_path(settings)) is None and _is_anyone_online(fleet):
        note(NOTE)


def _is_anyone_online(fleet: Management) -> bool:
    applications = KeyFilter(kind=KeyKind.APPLICATION)
    return bool(fleet.devices.page(DeviceFilter(online=True), limit=1).items) or any(
        key.online for key in fleet.keys.iterate(applications)
    )
