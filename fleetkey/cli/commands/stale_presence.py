"""A note that the online states in the registry are stale while no server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.cli.output import note
from fleetkey.management import DeviceFilter
from fleetkey.operations import serving_pid
from fleetkey.registry import store_path

if TYPE_CHECKING:
    from fleetkey.config import Settings
    from fleetkey.management import Management

__all__ = ["note_stale_presence"]

NOTE = "no server is running on this registry: devices shown as online were online when the last server was killed"


def note_stale_presence(fleet: Management, settings: Settings) -> None:
    """Note on standard error that devices shown as online are not: a killed server could not record disconnections."""
    if serving_pid(store_path(settings)) is None and fleet.devices.page(DeviceFilter(online=True), limit=1).items:
        note(NOTE)
