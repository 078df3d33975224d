"""The services of `fleetkey.management`, as far as commands use them, through the admin API of another machine."""

from fleetkey.cli.remote.client import RemoteClient, read_token
from fleetkey.cli.remote.fleet import RemoteFleet

__all__ = ["RemoteClient", "RemoteFleet", "read_token"]
