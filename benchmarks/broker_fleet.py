"""One fleet, known to both brokers: a registry for ours, a password file and an access list for mosquitto."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.fleet import BCRYPT_ROUNDS, make_fleet
from fleetkey.access import hash_secret, new_secret
from fleetkey.registry import ApplicationScope, new_access_key
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.fleet import Credential

__all__ = ["FIRST_DEVICE", "BrokerFleet", "Registry", "make_broker_fleet", "make_registry", "new_serials"]

FIRST_DEVICE = 1
"""The place of the first device in `BrokerFleet.clients`; before it is the back end."""
BACK_END_CLIENT_ID = "benchmark-back-end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Where our broker finds the fleet, and what its clients connect with.

    Args:
        devices: credentials whose secret and hash are known.
        data_dir: the registry.
        clients: client id, user name and password of the back end and of each device, a line each, for loadgen.
    """

    devices: list[Credential]
    data_dir: Path
    clients: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFleet(Registry):
    """The same, and where the other broker finds it.

    Args:
        passwords: what clients connect with, for mosquitto, hashed as `mosquitto_passwd` does by default.
        access_list: who may what, for mosquitto.
    """

    passwords: Path
    access_list: Path


def make_registry(folder: Path, *, devices: int, serials: list[str]) -> Registry:
    """Make a fleet for our broker.

    Args:
        folder: where to.
        devices: how many.
        serials: what may still register.
    """
    data_dir = folder / "data"
    data_dir.mkdir()
    credentials = make_fleet(data_dir, devices=devices, known=devices)
    back_end_key, back_end_secret = new_access_key(), new_secret()
    with closing(SqliteStore(data_dir / "fleetkey.db")) as store:
        store.create_application_key(
            key=back_end_key,
            secret_hash=hash_secret(back_end_secret, BCRYPT_ROUNDS),
            name="benchmark",
            scope=ApplicationScope(all_devices=True),
            actor="benchmark",
        )
        store.add_serials(serials, actor="benchmark")
    clients = [
        (BACK_END_CLIENT_ID, back_end_key, back_end_secret.reveal()),
        *((device.device_id, device.key, device.secret.decode()) for device in credentials),
    ]
    registry = Registry(devices=credentials, data_dir=data_dir, clients=folder / "clients.tsv")
    registry.clients.write_text("".join("\t".join(client) + "\n" for client in clients))
    return registry


def make_broker_fleet(folder: Path, *, devices: int, serials: list[str]) -> BrokerFleet:
    """Make the files of a fleet that both brokers know; the arguments are those of `make_registry`."""
    registry = make_registry(folder, devices=devices, serials=serials)
    fleet = BrokerFleet(
        devices=registry.devices,
        data_dir=registry.data_dir,
        clients=registry.clients,
        passwords=folder / "passwords",
        access_list=folder / "access-list",
    )
    clients = [line.split("\t") for line in registry.clients.read_text().splitlines()]
    fleet.passwords.write_text("".join(f"{username}:{password}\n" for _, username, password in clients))
    back_end_key = clients[0][1]
    fleet.access_list.write_text(f"pattern readwrite devices/%c/#\n\nuser {back_end_key}\ntopic readwrite devices/#\n")
    subprocess.run(["mosquitto_passwd", "-U", str(fleet.passwords)], check=True, capture_output=True)
    return fleet


def new_serials(count: int) -> list[str]:
    """Return serials that nobody has."""
    return [f"SN-{secrets.token_hex(8).upper()}" for _ in range(count)]
