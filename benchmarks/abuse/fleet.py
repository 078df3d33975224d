"""The fleet of a server that is attacked: devices, and application keys that reach one device each."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.abuse.plan import VICTIMS, Application
from benchmarks.broker_fleet import make_registry
from benchmarks.fleet import BCRYPT_ROUNDS
from fleetkey.access import hash_secret, new_secret
from fleetkey.config.labels import MAX_LABEL_CHARACTERS, MAX_LABELS
from fleetkey.management import TokenService
from fleetkey.registry import ApplicationScope, Role, new_access_key
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AbuseFleet", "add_labels", "make_abuse_fleet"]

LABEL_DEVICES = """
WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :labels)
INSERT INTO device_tags (device_id, name, value)
  SELECT device_id, printf('%0*d', :characters, n), printf('%0*d', :characters, n) FROM devices, number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbuseFleet:
    """Where it is.

    Args:
        data_dir: the registry.
        clients: client id, user name and password of the back end and of each device, a line each.
        keys: the other credentials that an attacker has, as JSON.
    """

    data_dir: Path
    clients: Path
    keys: Path


def make_abuse_fleet(folder: Path, *, devices: int, applications: int) -> AbuseFleet:
    """Make the files of a fleet in a folder; each application key reaches a device that is no victim."""
    registry = make_registry(folder, devices=devices, serials=[])
    made = []
    with closing(SqliteStore(registry.data_dir / "fleetkey.db")) as store:
        for number, device in enumerate(registry.devices[VICTIMS : VICTIMS + applications]):
            key, secret = new_access_key(), new_secret()
            store.create_application_key(
                key=key,
                secret_hash=hash_secret(secret, BCRYPT_ROUNDS),
                name=f"application {number}",
                scope=ApplicationScope(device_ids=(device.device_id,)),
                actor="benchmark",
            )
            made.append(Application(key=key, secret=secret.reveal(), device_id=device.device_id))
        token = TokenService(store).create("benchmark", Role.VIEWER, actor="benchmark").text.reveal()
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"token": token, "applications": [asdict(one) for one in made]}))
    return AbuseFleet(data_dir=registry.data_dir, clients=registry.clients, keys=keys)


def add_labels(data_dir: Path) -> None:
    """Give each device as many tags as it may have, each as long as it may be."""
    with closing(sqlite3.connect(data_dir / "fleetkey.db", isolation_level=None)) as connection:
        connection.execute(LABEL_DEVICES, {"labels": MAX_LABELS, "characters": MAX_LABEL_CHARACTERS})
