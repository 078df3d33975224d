"""paho-mqtt in both versions: each with itself and with the other, at every QoS, over TCP and WebSocket."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.mqtt_client import REFUSED
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, speaking
from tests.support.waiting import eventually
from tests.support.wire_clients import EVERYTHING

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.mqtt_client import MqttClient

VERSIONS = {"3.1.1": LEVEL_3_1_1, "5": LEVEL_5}
QOS = [0, 1, 2]
TAKEN_OVER, NOT_AUTHORIZED = 0x8E, 0x87
PROPERTIES: dict[str, Any] = {
    "PayloadFormatIndicator": 1,
    "ContentType": "text/plain",
    "ResponseTopic": "answers/1",
    "CorrelationData": b"\x00\xff",
    "UserProperty": [("b", "1"), ("a", "2"), ("b", "3")],
}
publishes = pytest.mark.parametrize("publishing", VERSIONS)
subscribes = pytest.mark.parametrize("subscribing", VERSIONS)
over = pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])


def _client(fleet: Fleet, version: str, **options: Any) -> MqttClient:
    with speaking(VERSIONS[version]):
        return fleet.connect(fleet.application(**EVERYTHING), **options)


@over
@publishes
@subscribes
def test_every_qos(fleet: Fleet, subscribing: str, publishing: str, *, websocket: bool) -> None:
    """A message arrives once, in each combination of versions and QoS, with the lower QoS."""
    root = secrets.token_hex(4)
    with _client(fleet, subscribing, websocket=websocket) as subscriber, _client(fleet, publishing) as publisher:
        for granted in QOS:
            assert subscriber.subscribe(f"{root}/{granted}/+", qos=granted) == [granted]
            for published in QOS:
                assert publisher.publish(f"{root}/{granted}/{published}", bytes([granted, published]), qos=published)
        assert eventually(lambda: len(subscriber.messages) == 9)
        # Whatever came twice would be there before this.
        publisher.publish(f"{root}/2/last", b"last", qos=2)
        assert subscriber.hears(f"{root}/2/last", b"last")
        got = {message.payload: message.qos for message in subscriber.messages[:-1]}
        assert got == {bytes([granted, published]): min(granted, published) for granted in QOS for published in QOS}
        assert len(subscriber.messages) == 10


@publishes
@subscribes
def test_session_and_retained_message(fleet: Fleet, subscribing: str, publishing: str) -> None:
    """What is retained, and what waits for a session, is the same for both versions."""
    root = secrets.token_hex(4)
    subscriber = _client(fleet, subscribing, clean=False)
    subscriber.subscribe(f"{root}/#", qos=2)
    subscriber.close()
    with _client(fleet, publishing) as publisher:
        for qos in QOS[1:]:
            assert publisher.publish(f"{root}/waits", bytes([qos]), qos=qos)
        assert publisher.publish(f"{root}/kept", b"kept", qos=1, retain=True)
        with subscriber.connect():
            assert subscriber.is_session_present
            assert eventually(lambda: len(subscriber.messages) == 3)
            # paho shows one of QoS 2 once it is released.
            assert {message.payload for message in subscriber.messages} == {b"\1", b"\2", b"kept"}
        with _client(fleet, subscribing) as other:
            other.subscribe(f"{root}/kept")
            assert other.hears(f"{root}/kept", b"kept")
            assert other.messages[0].retain
        assert publisher.publish(f"{root}/kept", b"", retain=True)


@over
@subscribes
def test_properties(fleet: Fleet, subscribing: str, *, websocket: bool) -> None:
    """A client of 5 gets a message's properties as they were sent, in order; one of 3.1.1 the message alone."""
    topic = secrets.token_hex(4)
    with _client(fleet, subscribing) as subscriber, _client(fleet, "5", websocket=websocket) as publisher:
        subscriber.subscribe(topic, qos=2)
        for qos in QOS:
            assert publisher.publish(topic, b"text", qos=qos, properties=PROPERTIES)
        assert eventually(lambda: len(subscriber.messages) == 3)
        expected = PROPERTIES if subscribing == "5" else {}
        assert [message.properties for message in subscriber.messages] == [expected] * 3


@over
@publishes
def test_refused(fleet: Fleet, publishing: str, *, websocket: bool) -> None:
    """A message outside of the scope: a client of 5 learns it, one of 3.1.1 doesn't, and neither is disconnected."""
    device = fleet.device()
    with _client(fleet, "5") as witness, speaking(VERSIONS[publishing]):
        witness.subscribe("#", qos=2)
        with fleet.connect(device, websocket=websocket) as client:
            for qos in QOS:
                assert client.publish("elsewhere", b"x", qos=qos)
            # paho passes over a PUBREC that refuses, and goes on with the handshake.
            assert client.refusals == ([NOT_AUTHORIZED] if publishing == "5" else [])
            assert client.subscribe("elsewhere", device.topic("x")) == [REFUSED, 1]
            assert client.publish(device.topic("x"), b"own", qos=2)
            assert client.hears(device.topic("x"), b"own")
            assert witness.hears(device.topic("x"), b"own")
            assert "elsewhere" not in {message.topic for message in witness.messages}


@publishes
@subscribes
def test_taken_over(fleet: Fleet, subscribing: str, publishing: str) -> None:
    """A client may come back in the other version: it takes its session over, and the older connection is told."""
    key = fleet.application(**EVERYTHING)
    with speaking(VERSIONS[subscribing]):
        first = fleet.connect(key, clean=False)
        assert first.subscribe(key.client_id, qos=1) == [1]
    with speaking(VERSIONS[publishing]), fleet.connect(key, clean=False) as second:
        assert first.is_disconnected_within(10)
        assert first.end_reason == (TAKEN_OVER if subscribing == "5" else 0)
        assert second.is_session_present
        assert second.publish(key.client_id, b"1")
        assert second.hears(key.client_id, b"1")
    first.close()
