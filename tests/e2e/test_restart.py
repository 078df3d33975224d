"""What a restart keeps, and how the server ends."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from fleetkey.registry import DeviceState, Presence
from tests.support.command_line_watch import CommandLineWatch
from tests.support.fleet import Fleet
from tests.support.http import NOBODY_TRUSTED
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream
from tests.support.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

END_SECONDS = 3.0


def _snapshot(fleet: Fleet) -> tuple[Any, ...]:
    with fleet.store() as store:
        keys = store.list_keys(include_retired=True)
        # Who is connected is another question after a restart.
        devices = [replace(device, presence=Presence()) for device in store.list_devices()]
        return list(store.iter_serials()), devices, [(key.key, key.status, key.expires_at) for _, key in keys]


def test_restart_keeps_everything(tmp_path: Path) -> None:
    """Devices, keys, tags, states and the allow-list are there again, and registration goes on with them."""
    started = ServerProcess(tmp_path, environment=NO_LIMITS, is_new_interpreter=True)
    with started as server, CommandLineWatch() as watch:
        fleet = Fleet(server)
        active, disabled, revoked = fleet.device(), fleet.device(), fleet.device()
        never_registered = fleet.serial()
        application = fleet.application(tags=(("site", "north"),))
        with fleet.store() as store:
            store.tag_device(active.client_id, {"site": "north"}, actor="test")
            store.set_device_state(disabled.client_id, DeviceState.DISABLED, actor="test")
            store.revoke_key(revoked.key, actor="test")
        before = _snapshot(fleet)
        for _ in range(2):
            server.restart()
            assert _snapshot(fleet) == before
            assert fleet.can_connect(active)
            assert not fleet.can_connect(disabled)
            assert not fleet.can_connect(revoked)
            with fleet.connect(application) as client:
                assert client.subscribe(active.topic("#")) == [1]
        assert fleet.register(active.serial).client_id == active.client_id
        assert fleet.register(never_registered).client_id not in {active.client_id, disabled.client_id}
        assert fleet.post({"serial": disabled.serial}).status_code == 400
    assert any("fleetkey serve" in line for line in watch.seen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_signal_with_live_connections(tmp_path: Path, number: signal.Signals) -> None:
    """It ends with exit status 0 and promptly, whoever is connected, and whatever half a request hangs about."""
    environment = {**NO_LIMITS, "FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0"}
    with ServerProcess(tmp_path, environment=environment) as server, ExitStack() as connections:
        fleet = Fleet(server)
        devices = [fleet.device() for _ in range(10)]
        clients = [
            connections.enter_context(fleet.connect(device, websocket=bool(index % 2)))
            for index, device in enumerate(devices)
        ]
        connections.enter_context(Wire(TcpStream(server.mqtt_port)))
        half_a_connect = connections.enter_context(Wire(TcpStream(server.mqtt_port)))
        half_a_connect.send(b"\x10\x20\0\x04MQTT")
        half_a_request = connections.enter_context(Wire(TcpStream(server.http_port)))
        half_a_request.send(b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
        idle = connections.enter_context(httpx.Client(verify=NOBODY_TRUSTED))
        assert idle.get(f"{server.url}/health").status_code == 200
        assert server.terminate(number) < END_SECONDS
        assert all(client.is_disconnected_within(2) for client in clients)
        server.start()
        assert all(fleet.can_connect(device) for device in devices)
