"""mqtt.js, which runs in Node: in both versions, over TCP and WebSocket."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import REPOSITORY
from tests.support.fleet import Fleet, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials

pytestmark = pytest.mark.servers

SCRIPT = Path(__file__).with_name("mqtt_js.cjs")
MODULES = Path(os.environ.get("NODE_PATH", REPOSITORY / ".venv/node/node_modules"))
"""Where `make test-servers` installs mqtt.js."""
VERSIONS = {"3.1.1": 4, "5": 5}
NOT_AUTHORIZED = {"3.1.1": 5, "5": 0x87}
SECONDS = 60


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server."""
    with running(tmp_path_factory.mktemp("server")) as fleet:
        yield fleet


def _run(asked: dict[str, Any]) -> Any:
    """Run the script, and return what it says."""
    node = shutil.which("node")
    assert node is not None, "Node isn't installed (Debian: nodejs)"
    assert (MODULES / "mqtt").is_dir(), "mqtt.js isn't installed: run make test-servers"
    done = subprocess.run(
        [node, SCRIPT],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _client(fleet: Fleet, who: Credentials, version: str, *, websocket: bool, **changed: str) -> dict[str, Any]:
    server = fleet.server
    return {
        "url": f"ws://127.0.0.1:{server.ws_port}/mqtt" if websocket else f"mqtt://127.0.0.1:{server.mqtt_port}",
        "version": VERSIONS[version],
        "clientId": who.client_id,
        "key": who.key,
        "secret": who.secret,
        **changed,
    }


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
@pytest.mark.parametrize("sending", VERSIONS)
@pytest.mark.parametrize("receiving", VERSIONS)
def test_every_qos(fleet: Fleet, receiving: str, sending: str, *, websocket: bool) -> None:
    """Messages of every QoS arrive, those that waited too; properties do, where both know them; a refusal is told."""
    device, application = fleet.device(), fleet.application()
    told = _run(
        {
            "receiver": _client(fleet, application, receiving, websocket=websocket),
            "sender": _client(fleet, device, sending, websocket=websocket),
            "topic": device.topic(secrets.token_hex(4)),
            "foreign": "elsewhere",
        }
    )
    assert told["granted"] == [0, 1, 2]
    assert told["refused"] == (0x87 if sending == "5" else None)
    properties = [{"a": ["1", "2"], "b": "3"}, "text/plain"] if receiving == sending == "5" else [None, None]
    expected = [[f"{to}{qos}", min(to, qos), *properties] for to in range(3) for qos in range(3)]
    got = told["got"]
    assert sorted(got[:-1]) == sorted(expected)
    assert got[-1] == ["last", 2, None, None]


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
@pytest.mark.parametrize("version", VERSIONS)
def test_refused_login(fleet: Fleet, version: str, *, websocket: bool) -> None:
    """A wrong secret is refused with the code of each version."""
    sender = _client(fleet, fleet.device(), version, websocket=websocket, secret=secrets.token_hex(32))
    assert _run({"sender": sender}) == {"code": NOT_AUTHORIZED[version]}
