"""A plain amqtt broker, configured as its users would, with the plugin and a registry."""

from __future__ import annotations

import asyncio
import secrets
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from amqtt.broker import Broker
from amqtt.utils import read_yaml_config

from fleetkey.access import hash_secret, new_secret
from fleetkey.registry import (
    ApplicationScope,
    IssueRequest,
    KeyIssued,
    Reregistration,
    SqliteStore,
    new_access_key,
)
from tests.support.fleet import Credentials
from tests.support.ledger import the_ledger
from tests.support.mqtt_client import MqttClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PlainBroker", "configuration", "running"]

START_SECONDS = 15


def configuration(folder: Path, data_dir: Path) -> dict[str, Any]:
    """Write the YAML that amqtt's users write, and read it back as amqtt does."""
    file = folder / "amqtt.yaml"
    file.write_text(
        "listeners:\n"
        "  default:\n"
        "    type: tcp\n"
        "    bind: 127.0.0.1:0\n"
        "plugins:\n"
        "  fleetkey.auth_plugin.FleetkeyAuthPlugin:\n"
        f"    data_dir: {data_dir}\n"
    )
    read = read_yaml_config(file)
    assert read is not None
    return read


class PlainBroker:
    """A running broker, its port, and its registry."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir
        self.port = port

    @contextmanager
    def store(self) -> Iterator[SqliteStore]:
        """Open the registry."""
        with closing(SqliteStore(self.data_dir / "fleetkey.db")) as store:
            yield store

    def device(self) -> Credentials:
        """Issue a device's key."""
        key, secret = new_access_key(), new_secret()
        the_ledger().note_secret(secret.reveal())
        request = IssueRequest(
            serial=f"SN-{secrets.token_hex(6)}",
            key=key,
            secret_hash=hash_secret(secret, 4),
            reregistration=Reregistration.ADD,
            grace_seconds=0,
            max_keys=5,
            require_approval=False,
        )
        with self.store() as store:
            issued = store.issue_device_key(request)
        assert isinstance(issued, KeyIssued)
        return Credentials(client_id=issued.device.device_id, key=key, secret=secret.reveal())

    def application(self, scope: ApplicationScope | None = None) -> Credentials:
        """Issue an application's key, by default for every device."""
        key, secret = new_access_key(), new_secret()
        the_ledger().note_secret(secret.reveal())
        with self.store() as store:
            store.create_application_key(
                key=key,
                secret_hash=hash_secret(secret, 4),
                name="test",
                scope=scope or ApplicationScope(all_devices=True),
                actor="test",
            )
        return Credentials(client_id=f"back-end-{key[:8]}", key=key, secret=secret.reveal())

    def client(self, who: Credentials, **options: Any) -> MqttClient:
        """Return a client that isn't connected yet."""
        settings: dict[str, Any] = {
            "port": self.port,
            "client_id": who.client_id,
            "key": who.key,
            "secret": who.secret,
        }
        return MqttClient(**(settings | options))


@contextmanager
def running(folder: Path) -> Iterator[PlainBroker]:
    """Run a broker on an event loop of its own."""
    data_dir = folder / "data"
    the_ledger().watch_database(data_dir / "fleetkey.db")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        broker = asyncio.run_coroutine_threadsafe(_start(configuration(folder, data_dir)), loop).result(START_SECONDS)
        (listening, *_) = broker._servers["default"].instance.sockets
        yield PlainBroker(data_dir, listening.getsockname()[1])
        asyncio.run_coroutine_threadsafe(_stop(broker), loop).result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)
        loop.close()


async def _start(settings: dict[str, Any]) -> Broker:
    broker = Broker(settings)
    await broker.start()
    return broker


async def _stop(broker: Broker) -> None:
    await broker.shutdown()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    # One turn of the loop for each transport's farewell.
    await asyncio.sleep(0.05)
