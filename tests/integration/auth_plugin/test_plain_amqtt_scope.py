"""The plugin in a plain amqtt broker: scopes that change under a live subscription, and the end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fleetkey.access import hash_secret, new_secret
from fleetkey.registry import ApplicationScope, new_access_key
from tests.integration.auth_plugin.plain_broker import PlainBroker, running
from tests.support.fleet import Credentials
from tests.support.ledger import the_ledger
from tests.support.mqtt_client import REFUSED
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

QUIET_SECONDS = 0.3


def _of_site(broker: PlainBroker, site: str) -> Credentials:
    key, secret = new_access_key(), new_secret()
    the_ledger().note_secret(secret.reveal())
    scope = ApplicationScope(tags=(("site", site),))
    with broker.store() as store:
        store.create_application_key(key=key, secret_hash=hash_secret(secret, 4), name=site, scope=scope, actor="test")
    return Credentials(client_id=f"back-end-{site}", key=key, secret=secret.reveal())


def test_receive_after_scope_shrank(tmp_path: Path) -> None:
    """A granted subscription delivers only as long as the scope covers the topic."""
    with running(tmp_path) as broker:
        device, everything = broker.device(), broker.application()
        with broker.store() as store:
            store.tag_device(device.client_id, {"site": "north"}, actor="test")
        with (
            broker.client(device) as client,
            broker.client(_of_site(broker, "north")) as north,
            broker.client(everything) as observer,
        ):
            assert north.subscribe(device.topic("#")) == [1]
            assert observer.subscribe("devices/+/#") == [1]
            assert client.publish(device.topic("state"), b"before")
            assert north.hears(device.topic("state"), b"before")
            with broker.store() as store:
                store.tag_device(device.client_id, {"site": "south"}, actor="test")
            assert eventually(lambda: north.subscribe(device.topic("again")) == [REFUSED], 1)
            assert client.publish(device.topic("state"), b"after")
            assert observer.hears(device.topic("state"), b"after")
            assert not north.hears(device.topic("state"), b"after", QUIET_SECONDS)


def test_subscribe_across_devices(tmp_path: Path) -> None:
    """Retained and queued messages aren't decided for their receiver here, so no filter may span devices."""
    with running(tmp_path) as broker:
        device = broker.device()
        with broker.store() as store:
            store.tag_device(device.client_id, {"site": "north"}, actor="test")
        by_id = broker.application(ApplicationScope(device_ids=(device.client_id,)))
        for key in (_of_site(broker, "north"), by_id):
            with broker.client(key) as client:
                assert client.subscribe("devices/+/state", "devices/+/#", device.topic("#")) == [REFUSED, REFUSED, 1]


def test_close(tmp_path: Path) -> None:
    """When the broker ends, the plugin's threads end and its registry is closed, with nothing left in the log."""
    before = set(threading.enumerate())
    with running(tmp_path) as broker:
        with broker.client(broker.device()) as client:
            assert client.return_code == 0
        assert broker.data_dir.joinpath("fleetkey.db-wal").exists()
    assert eventually(lambda: set(threading.enumerate()) <= before, 2), threading.enumerate()
    assert [path.name for path in broker.data_dir.iterdir()] == ["fleetkey.db"]
