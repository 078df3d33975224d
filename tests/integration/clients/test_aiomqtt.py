"""aiomqtt in both versions, over TCP and WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import pytest
from aiomqtt import Client, MqttCodeError, ProtocolVersion, Will
from paho.mqtt.packettypes import PacketTypes

from tests.support.mqtt_client import paho_properties

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet

VERSIONS = {"3.1.1": ProtocolVersion.V311, "5": ProtocolVersion.V5}
TRANSPORTS: dict[str, Literal["tcp", "websockets"]] = {"tcp": "tcp", "websocket": "websockets"}
QOS = [0, 1, 2]
WAIT_SECONDS = 10
NOT_AUTHORIZED = 0x87
each_version = pytest.mark.parametrize("version", VERSIONS)
over = pytest.mark.parametrize("transport", TRANSPORTS)


def _client(fleet: Fleet, who: Credentials, version: str, transport: str = "tcp", **options: Any) -> Client:
    return Client(
        "127.0.0.1",
        fleet.server.mqtt_port if transport == "tcp" else fleet.server.ws_port,
        identifier=who.client_id,
        username=who.key,
        password=options.pop("password", who.secret),
        protocol=VERSIONS[version],
        transport=TRANSPORTS[transport],
        timeout=WAIT_SECONDS,
        **options,
    )


async def _heard(client: Client, count: int) -> list[tuple[str, object, int]]:
    got: list[tuple[str, object, int]] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for message in client.messages:
            got.append((str(message.topic), message.payload, message.qos))
            if len(got) == count:
                break
    return got


@over
@each_version
@pytest.mark.parametrize("other", VERSIONS)
async def test_device_and_application(fleet: Fleet, version: str, other: str, transport: str) -> None:
    """A device and an application talk at every QoS, in the same version or in different ones."""
    device, application = fleet.device(), fleet.application()
    state, command = device.topic("state"), device.topic("command")
    async with (
        _client(fleet, device, version, transport, will=Will(device.topic("gone"), b"gone", 1)) as client,
        _client(fleet, application, other, transport) as backend,
    ):
        assert await client.subscribe(command, qos=2)
        assert await backend.subscribe("devices/+/state", qos=2)
        for qos in QOS:
            await client.publish(state, bytes([qos]), qos=qos)
            await backend.publish(command, bytes([qos]), qos=qos)
        assert await _heard(backend, 3) == [(state, bytes([qos]), qos) for qos in QOS]
        assert await _heard(client, 3) == [(command, bytes([qos]), qos) for qos in QOS]
        await client.unsubscribe(command)
        await client.publish(device.topic("config"), b"kept", qos=1, retain=True)
        await backend.subscribe(device.topic("config"))
        assert await _heard(backend, 1) == [(device.topic("config"), b"kept", 0)]


@over
@each_version
async def test_refused_login(fleet: Fleet, version: str, transport: str) -> None:
    """A wrong secret is refused as not authorized, in each version."""
    with pytest.raises(MqttCodeError) as caught:
        async with _client(fleet, fleet.device(), version, transport, password="wrong"):
            pass
    # paho shows the codes of 3.1.1 as those of 5.
    assert getattr(caught.value.rc, "value", None) == NOT_AUTHORIZED


@over
async def test_properties(fleet: Fleet, transport: str) -> None:
    """In MQTT 5, properties go to the receiver."""
    device = fleet.device()
    values = {"UserProperty": [("a", "1"), ("a", "2")], "ContentType": "text/plain"}
    sent = paho_properties(PacketTypes.PUBLISH, values)
    async with _client(fleet, device, "5", transport) as client:
        await client.subscribe(device.topic("#"), qos=1)
        await client.publish(device.topic("x"), b"1", qos=1, properties=sent)
        async with asyncio.timeout(WAIT_SECONDS):
            got = await anext(aiter(client.messages))
        assert values.items() <= vars(got.properties).items()
