"""What a device is there for: its own topics work, both ways, at every QoS, over every transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

BOTH = pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])


@BOTH
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_own_topics(fleet: Fleet, qos: int, *, websocket: bool) -> None:
    """Device to back end and back end to device, and nobody else hears it."""
    device, bystander = fleet.device(), fleet.device()
    back_end = fleet.application()
    with (
        fleet.connect(device, websocket=websocket) as client,
        fleet.connect(back_end, websocket=not websocket) as application,
        fleet.connect(bystander) as other,
    ):
        assert client.subscribe(device.topic("command/#"), qos=qos) == [qos]
        assert application.subscribe("devices/+/state", qos=qos) == [qos]
        assert other.subscribe(bystander.topic("#"), qos=qos) == [qos]
        for number in range(5):
            assert client.publish(device.topic("state"), f"state {number}", qos=qos)
            assert application.hears(device.topic("state"), f"state {number}")
            assert application.publish(device.topic("command/run"), f"command {number}", qos=qos)
            assert client.hears(device.topic("command/run"), f"command {number}")
        assert [message.qos for message in client.messages] == [qos] * 5
        assert [message.qos for message in application.messages] == [qos] * 5
        assert other.publish(bystander.topic("end"), b"end")
        assert other.hears(bystander.topic("end"), b"end")
        assert len(other.heard) == 1


@BOTH
def test_publish_any_payload(fleet: Fleet, *, websocket: bool) -> None:
    """Payloads are bytes: empty, binary and large ones arrive as they were sent."""
    device = fleet.device()
    payloads = [b"", b"\0", bytes(range(256)), b"x" * 200_000]
    with fleet.connect(device, websocket=websocket) as client:
        assert client.subscribe(device.topic("#"), qos=1) == [1]
        for payload in payloads:
            assert client.publish(device.topic("data"), payload)
            assert client.hears(device.topic("data"), payload)


@BOTH
def test_publish_odd_own_topics(fleet: Fleet, *, websocket: bool) -> None:
    """Below its own prefix a device may name its topics as it likes."""
    device = fleet.device()
    with fleet.connect(device, websocket=websocket) as client:
        assert client.subscribe(device.topic("#")) == [1]
        for rest in ("", "/", "a b", "%2f", "..", "$SYS", "größe/温度", "a/" * 25, "\U0001f600"):
            assert client.publish(device.topic(rest), b"odd")
            assert client.hears(device.topic(rest), b"odd")


@BOTH
def test_publish_many(fleet: Fleet, *, websocket: bool) -> None:
    """A burst at QoS 1 arrives whole and in order."""
    device = fleet.device()
    with fleet.connect(device, websocket=websocket) as client, fleet.connect(fleet.application()) as back_end:
        assert back_end.subscribe("devices/+/burst") == [1]
        for number in range(500):
            client.send(device.topic("burst"), str(number))
        assert back_end.hears(device.topic("burst"), "499")
        assert [payload for _, payload in back_end.heard] == [str(number).encode() for number in range(500)]


@BOTH
def test_publish_while_others_come_and_go(fleet: Fleet, *, websocket: bool) -> None:
    """No message is lost because other clients connect, subscribe and leave meanwhile."""
    device, others = fleet.device(), [fleet.device() for _ in range(5)]
    topic, number = device.topic("steady"), 0
    with (
        fleet.connect(device, websocket=websocket) as client,
        fleet.connect(fleet.application()) as first,
        fleet.connect(fleet.application()) as second,
    ):
        # Two filters, so that the broker has more to do after it came to the first.
        assert first.subscribe("devices/+/steady") == [1]
        assert second.subscribe(topic) == [1]
        for turn in range(4):
            for other in others:
                with fleet.connect(other, clean=False) as visitor:
                    for _ in range(10):
                        client.send(topic, str(number))
                        number += 1
                    filters = [other.topic(f"{turn}/{extra}") for extra in range(20)]
                    assert visitor.subscribe(*filters) == [1] * len(filters)
        for back_end in (first, second):
            assert back_end.hears(topic, str(number - 1))
            assert [payload for _, payload in back_end.heard] == [str(count).encode() for count in range(number)]
