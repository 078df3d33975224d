"""The story that `fleetkey demo` tells."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access import hash_secret, new_secret
from fleetkey.cli.demo.client import DemoClient
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import Settings, load_settings
from fleetkey.device import Credentials, Registrar, RegistrationRefused
from fleetkey.registry import ApplicationScope, DeviceState, new_access_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Step", "story"]

ACTOR = "cli:demo"
QUIET_SECONDS = 0.5
REVOKED_SECONDS = 1.0
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the demo: what should happen, and whether it did."""

    title: str
    is_shown: bool
    detail: str


def story(folder: Path) -> Iterator[Step]:
    """Run the demo on a server in an empty directory; yields each step when it is done."""
    flags = {"data_dir": folder, "http.bind": "127.0.0.1:0", "mqtt.bind": "127.0.0.1:0"}
    # An empty settings file in place of this installation's: the demo shows the defaults.
    defaults = folder / "fleetkey.toml"
    defaults.touch()
    # No webhooks either, which environment variables may configure: no receiver should hear of demo devices.
    settings: Settings = load_settings(defaults, flags).model_copy(update={"webhooks": {}})
    with EmbeddedServer(settings) as server:
        url, port = server.http_url, server.mqtt_port()
        yield Step("Registration and broker are running", is_shown=True, detail=f"{url}, MQTT on 127.0.0.1:{port}")

        serials = [f"SN-{secrets.token_hex(4)}" for _ in range(2)]
        added = server.store.add_serials(serials, actor=ACTOR)
        yield Step(
            "The operator allows two serials", added.added == len(serials), f"fleetkey serials add {' '.join(serials)}"
        )
        yield _stranger(url)

        first, second = (Registrar(serial, url).register() for serial in serials)
        yield Step(
            "Both devices register over HTTP; each gets its own id, key and secret",
            first.device_id != second.device_id and first.key != second.key,
            f"POST /register: {serials[0]} is {first.device_id}, {serials[1]} is {second.device_id}",
        )
        backend, alice, bob = _application(server, port), _connect(first), _connect(second)
        try:
            yield Step(
                "Both connect over MQTT, and so does a back end with an application key",
                alice.is_connected and bob.is_connected and backend.subscribe("devices/+/#"),
                "client id = device id, username = key, password = secret",
            )
            yield _heard(backend, alice, first)
            yield _heard(backend, bob, second)
            yield _trespass(alice, bob, backend, second)
            yield _expulsion(server, alice, first, url, serials[0])
            bob.publish(f"devices/{second.device_id}/state", "still here")
            topic = f"devices/{second.device_id}/state"
            yield Step(
                "The other device is not affected",
                backend.wait_for(lambda: (topic, b"still here") in backend.messages) and bob.is_connected,
                "a compromised device exposes only itself",
            )
        finally:
            for client in (backend, alice, bob):
                client.close()


def _stranger(url: str) -> Step:
    try:
        Registrar("SN-not-listed", url).register()
    except RegistrationRefused as refusal:
        return Step(
            "A serial that is not on the list is refused", is_shown=True, detail=f"{refusal.status} {refusal.detail}"
        )
    return Step("A serial that is not on the list is refused", is_shown=False, detail="it was accepted")


def _heard(backend: DemoClient, device: DemoClient, credentials: Credentials) -> Step:
    topic, payload = f"devices/{credentials.device_id}/state", '{"data": {"temperature": 21}}'
    device.publish(topic, payload)
    is_heard = backend.wait_for(lambda: (topic, payload.encode()) in backend.messages)
    return Step("The device publishes its state and the back end receives it", is_heard, f"{topic} {payload}")


def _trespass(thief: DemoClient, victim: DemoClient, backend: DemoClient, target: Credentials) -> Step:
    victim.subscribe(f"devices/{target.device_id}/#")
    filters = (f"devices/{target.device_id}/#", "devices/+/state", "#", "$SYS/#")
    granted = [topic_filter for topic_filter in filters if thief.subscribe(topic_filter)]
    thief.publish(f"devices/{target.device_id}/command", "forged")
    time.sleep(QUIET_SECONDS)
    is_heard = any(payload == b"forged" for _, payload in (*victim.messages, *backend.messages))
    return Step(
        "One device tries the other's topics and is refused",
        not granted and not is_heard,
        f"SUBSCRIBE {', '.join(filters)}: refused; its forged command reached no one",
    )


def _expulsion(server: EmbeddedServer, client: DemoClient, credentials: Credentials, url: str, serial: str) -> Step:
    title = "The operator disables it: it is disconnected at once and can't return"
    began = time.monotonic()
    server.store.set_device_state(credentials.device_id or "", DeviceState.DISABLED, actor=ACTOR)
    is_out = client.wait_for(lambda: client.disconnected_at is not None)
    seconds = (client.disconnected_at or time.monotonic()) - began
    again = _connect(credentials)
    again.close()
    try:
        Registrar(serial, url).register()
        is_refused = False
    except RegistrationRefused:
        is_refused = True
    return Step(
        title,
        is_out and seconds < REVOKED_SECONDS and again.return_code != 0 and is_refused,
        f"disconnected after {seconds * 1000:.0f} ms; its key and its registration are refused",
    )


def _application(server: EmbeddedServer, port: int) -> DemoClient:
    key, secret = new_access_key(), new_secret()
    server.store.create_application_key(
        key=key,
        secret_hash=hash_secret(secret, ROUNDS),
        name="demo back end",
        scope=ApplicationScope(all_devices=True),
        actor=ACTOR,
    )
    return DemoClient(client_id="backend", key=key, secret=secret.reveal(), host="127.0.0.1", port=port)


def _connect(credentials: Credentials) -> DemoClient:
    return DemoClient(
        client_id=credentials.device_id or "",
        key=credentials.key,
        secret=credentials.secret.reveal(),
        host=credentials.mqtt.host,
        port=credentials.mqtt.port,
    )
