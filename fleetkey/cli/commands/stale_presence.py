"""What the registry says of connections while no server runs."""

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

NOTE = "no server runs on this registry: the devices shown as online were so when the last one was killed"


def note_stale_presence(fleet: Management, settings: Settings) -> None:
    """Say on standard error that who is shown as online can't be: a killed server says of nobody that it is gone."""
    if serving_pid(store_path(settings)) is None and fleet.devices.page(DeviceFilter(online=True), limit=1).items:
        note(NOTE)
