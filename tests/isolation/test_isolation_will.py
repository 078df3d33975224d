"""A will is a publish that comes later: a foreign one keeps its owner out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.hostile_topics import BROKEN_NAMES, FOREIGN_NAMES, spell
from tests.support.packets import Will, connect
from tests.support.scene import raw_session
from tests.support.wire import Wire

if TYPE_CHECKING:
    from tests.support.scene import Scene


def _log_in_with_will(scene: Scene, raw: Wire, topic: bytes, *, retain: bool = False) -> int | None:
    who = scene.attacker
    return raw.log_in(
        connect(who.client_id, username=who.key, password=who.secret, will=Will(topic, b"last words", retain=retain))
    )


@pytest.mark.parametrize("retain", [False, True], ids=["live", "retained"])
@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_connect_foreign_will(scene: Scene, name: str, *, retain: bool) -> None:
    """CONNACK 5, session-present 0, and the will is never published."""
    topic = spell(FOREIGN_NAMES[name], victim=scene.victim.client_id, own=scene.attacker.client_id)
    with Wire.to(scene.fleet) as raw:
        assert _log_in_with_will(scene, raw, topic, retain=retain) == 5
        assert raw.is_closed_by_broker()
    scene.settle()
    assert not scene.heard_by_victim(b"last words")
    assert scene.heard_by_observer(b"last words") == []


@pytest.mark.parametrize("trick", BROKEN_NAMES.values(), ids=BROKEN_NAMES)
def test_connect_broken_will(scene: Scene, trick: bytes) -> None:
    """A will topic that is no topic name keeps its owner out, and the will is never published."""
    topic = spell(trick, victim=scene.victim.client_id, own=scene.attacker.client_id)
    with Wire.to(scene.fleet) as raw:
        assert _log_in_with_will(scene, raw, topic) in {5, None}
        assert raw.is_closed_by_broker()
    scene.settle()
    assert not scene.heard_by_victim(b"last words")
    assert scene.heard_by_observer(b"last words") == []


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
def test_drop_own_will(scene: Scene, *, websocket: bool) -> None:
    """A will on an own topic is published when the connection breaks."""
    topic = scene.attacker.topic("gone")
    will = Will(topic, b"last words", qos=1)
    with scene.fleet.connect(scene.attacker, will=will, websocket=websocket) as client:
        client.drop()
        assert scene.observer.hears(topic, will.payload)
    assert not scene.heard_by_victim(b"last words")


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
def test_disconnect_own_will(scene: Scene, *, websocket: bool) -> None:
    """A connection that ends in order publishes no will (MQTT 3.1.1, 3.14.4-3)."""
    will = Will(scene.attacker.topic("gone"), b"last words", qos=1)
    with scene.fleet.connect(scene.attacker, will=will, websocket=websocket):
        pass
    with raw_session(scene.fleet, scene.attacker) as raw:
        scene.settle(raw)
    assert scene.heard_by_observer(b"last words") == []
