"""The services of `fleetkey.management` that commands use, through the admin API of a remote server."""

from fleetkey.cli.remote.client import RemoteClient, read_token
from fleetkey.cli.remote.fleet import RemoteFleet

__all__ = ["RemoteClient", "RemoteFleet", "read_token"]
