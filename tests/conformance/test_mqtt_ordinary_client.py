"""A client that knows nothing but the standard (7): paho, over TCP and WebSocket."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.measure import log_lines
from tests.support.mqtt_client import Message
from tests.support.packets import Will
from tests.support.versions import EACH_VERSION
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

SHOWN_CODE = 132
"""How clients that know MQTT 5 show the CONNACK 1 of an older version."""


@EACH_VERSION
@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
def test_whole_story(mqtt: Clients, *, websocket: bool) -> None:
    """Nothing outside the standard is needed to use all of it (7.0.0-2)."""
    device = mqtt.fleet.device()
    client = mqtt.fleet.client(device, clean=False, websocket=websocket).connect()
    application = mqtt.fleet.application()
    with mqtt.fleet.client(application, websocket=websocket) as backend:
        assert backend.subscribe("devices/+/state", "devices/+/gone", qos=2) == [2, 2]
        assert client.subscribe(device.topic("command"), device.topic("config"), qos=2) == [2, 2]
        for qos in range(3):
            assert client.publish(device.topic("state"), f"up {qos}", qos=qos)
            assert backend.publish(device.topic("command"), f"down {qos}", qos=qos)
            assert backend.hears(device.topic("state"), f"up {qos}")
            assert client.hears(device.topic("command"), f"down {qos}")
        assert [message.qos for message in backend.messages] == [0, 1, 2]
        client.close()
        assert backend.publish(device.topic("command"), "waited", qos=2)
        assert backend.publish(device.topic("config"), "kept", qos=1, retain=True)
        will = Will(device.topic("gone"), b"gone", 2)
        client = mqtt.fleet.client(device, clean=False, websocket=websocket, will=will).connect()
        assert client.is_session_present
        assert client.hears(device.topic("command"), "waited")
        assert client.hears(device.topic("config"), "kept")
        client.unsubscribe(device.topic("config"))
        client.subscribe(device.topic("config"))
        assert client.hears(device.topic("config"), "kept")
        assert client.messages[-1] == Message(device.topic("config"), b"kept", 1, retain=True)
        client.drop()
        assert backend.hears(device.topic("gone"), b"gone")


def test_older_version(mqtt: Clients) -> None:
    """A client of MQTT 3.1 shows that its version isn't supported, as the page about trouble says (3.1.2-2)."""
    codes: queue.Queue[int] = queue.Queue()
    device = mqtt.fleet.device()
    client = Client(CallbackAPIVersion.VERSION2, client_id=device.client_id, protocol=MQTTProtocolVersion.MQTTv31)
    client.username_pw_set(device.key, device.secret)
    client.on_connect = lambda _client, _data, _flags, code, _properties: codes.put(code.value)
    client.connect("127.0.0.1", mqtt.fleet.server.mqtt_port)
    client.loop_start()
    try:
        assert codes.get(timeout=10) == SHOWN_CODE
    finally:
        client.loop_stop()
    found = {"client_id": device.client_id, "key": device.key, "reason": "protocol_3_1", "code": 1}
    assert eventually(lambda: log_lines(mqtt.fleet, "login_refused", **found))
