"""A fleet on a running server: serials, registrations and application keys for tests."""

from __future__ import annotations

import secrets
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

from fleetkey.access import hash_secret, new_secret
from fleetkey.registry import ApplicationScope, SqliteStore, new_access_key
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.mqtt_client import MqttClient
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Credentials", "Fleet", "note_answer", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key with its secret, and whose it is."""

    client_id: str
    key: str
    secret: str = field(repr=False)
    serial: str = ""

    @property
    def device_id(self) -> str:
        """The device's id, which is its client id."""
        return self.client_id

    def topic(self, rest: str) -> str:
        """Return one of the device's own topics."""
        return f"devices/{self.client_id}/{rest}"


def note_answer(response: httpx.Response) -> None:
    """Put an answer's secret into the ledger, or its body among the texts that may hold none."""
    if response.status_code == httpx.codes.OK and response.url.path == "/register":
        the_ledger().note_secret(response.json()["secret"])
    else:
        the_ledger().note_text(response.text)


class Fleet:
    """Devices and applications of one server."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    @contextmanager
    def store(self) -> Iterator[SqliteStore]:
        """Open the server's registry from this process, as the command line does."""
        with closing(SqliteStore(self.server.database)) as store:
            yield store

    def serial(self) -> str:
        """Let a new serial register."""
        serial = f"SN-{secrets.token_hex(6)}"
        with self.store() as store:
            store.add_serials([serial], actor="test")
        return serial

    def post(self, body: object, **options: Any) -> httpx.Response:
        """Post to `/register`."""
        response = httpx.post(
            f"{self.server.url}/register", json=body, timeout=30, **{"verify": NOBODY_TRUSTED, **options}
        )
        note_answer(response)
        return response

    def register(self, serial: str) -> Credentials:
        """Register over HTTP."""
        response = self.post({"serial": serial})
        assert response.status_code == httpx.codes.OK, response.text
        answer = response.json()
        return Credentials(client_id=answer["deviceId"], key=answer["key"], secret=answer["secret"], serial=serial)

    def device(self) -> Credentials:
        """Register a new device."""
        return self.register(self.serial())

    def application(self, **scope: Any) -> Credentials:
        """Make an application key, for every device unless a scope is given."""
        key, secret = new_access_key(), new_secret()
        the_ledger().note_secret(secret.reveal())
        with self.store() as store:
            store.create_application_key(
                key=key,
                secret_hash=hash_secret(secret, 4),
                name="test",
                scope=ApplicationScope(**(scope or {"all_devices": True})),
                actor="test",
            )
        return Credentials(client_id=f"app-{secrets.token_hex(6)}", key=key, secret=secret.reveal())

    def client(self, credentials: Credentials, *, websocket: bool = False, **options: Any) -> MqttClient:
        """Return a client that isn't connected yet."""
        settings: dict[str, Any] = {
            "port": self.server.ws_port if websocket else self.server.mqtt_port,
            "transport": "websockets" if websocket else "tcp",
            "client_id": credentials.client_id,
            "key": credentials.key,
            "secret": credentials.secret,
        }
        return MqttClient(**(settings | options))

    def connect(self, credentials: Credentials, **options: Any) -> MqttClient:
        """Return a client that the broker let in."""
        client = self.client(credentials, **options).connect()
        assert client.return_code == 0, client.return_code
        return client

    def can_connect(self, credentials: Credentials) -> bool:
        """Whether the broker lets it in; asserts that a refusal is CONNACK 5."""
        with self.client(credentials) as client:
            assert client.return_code in {0, 5}
            return client.return_code == 0

    def is_shut_out(self, credentials: Credentials) -> bool:
        """Wait until the broker refuses it: of a change in the registry it is told within a second."""
        return eventually(lambda: not self.can_connect(credentials))


@contextmanager
def running(folder: Path, *, environment: dict[str, str] | None = None, **mqtt: object) -> Iterator[Fleet]:
    """Run a server with settings of `[mqtt]`, and without the limits on registrations and failed logins."""
    settings = {f"FLEETKEY_MQTT__{name.upper()}": str(value) for name, value in mqtt.items()}
    listener = {"FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0"}
    with ServerProcess(folder, environment={**NO_LIMITS, **listener, **settings, **(environment or {})}) as server:
        yield Fleet(server)
