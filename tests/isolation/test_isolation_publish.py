"""Nobody publishes outside its own topics, however the topic is spelt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.hostile_topics import BROKEN_NAMES, FOREIGN_NAMES, OWN_LOOKALIKES, spell
from tests.support.packets import publish
from tests.support.scene import raw_session

if TYPE_CHECKING:
    from tests.support.scene import Scene
    from tests.support.wire import Wire


def _forge(raw: Wire, topic: bytes) -> None:
    for qos in (0, 1, 2):
        for number, retain in enumerate((False, True), start=qos * 2 + 1):
            raw.send(publish(topic, b"forged", qos=qos, number=number, retain=retain))


@pytest.mark.parametrize("name", [name for name, topic in FOREIGN_NAMES.items() if topic[0] != "$"])
def test_publish_foreign_topic(scene: Scene, name: str) -> None:
    """A message outside the publisher's own topics reaches nobody at any QoS, and its next own message does."""
    topic = spell(FOREIGN_NAMES[name], victim=scene.victim.client_id, own=scene.attacker.client_id)
    with raw_session(scene.fleet, scene.attacker) as raw:
        _forge(raw, topic)
        scene.settle(raw)
    assert not scene.heard_by_victim(b"forged")
    assert scene.heard_by_observer(b"forged") == []


@pytest.mark.parametrize("trick", BROKEN_NAMES.values(), ids=BROKEN_NAMES)
def test_publish_broken_topic(scene: Scene, trick: bytes) -> None:
    """What is no topic name reaches nobody, even if its sender is disconnected for it, and harms nobody else."""
    topic = spell(trick, victim=scene.victim.client_id, own=scene.attacker.client_id)
    for retain in (False, True):
        for qos in (0, 1, 2):
            with raw_session(scene.fleet, scene.attacker) as raw:
                raw.send(publish(topic, b"forged", qos=qos, retain=retain))
    scene.settle()
    assert not scene.heard_by_victim(b"forged")
    assert scene.heard_by_observer(b"forged") == []
    with raw_session(scene.fleet, scene.attacker) as raw:
        scene.settle(raw)


@pytest.mark.parametrize("name", [name for name, topic in FOREIGN_NAMES.items() if topic[0] == "$"])
def test_publish_dollar_topic(scene: Scene, name: str) -> None:
    """Topics that begin with `$` are the broker's: a message to one reaches nobody."""
    topic = spell(FOREIGN_NAMES[name], victim=scene.victim.client_id, own=scene.attacker.client_id)
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(publish(topic, b"forged", qos=0))
    scene.settle()
    assert not scene.heard_by_victim(b"forged")
    assert scene.heard_by_observer(b"forged") == []


@pytest.mark.parametrize("trick", OWN_LOOKALIKES.values(), ids=OWN_LOOKALIKES)
def test_publish_own_lookalike(scene: Scene, trick: str) -> None:
    """No level of a topic means anything but itself: what only looks like a way out stays the publisher's own."""
    topic = spell(trick, victim=scene.victim.client_id, own=scene.attacker.client_id).decode()
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(publish(topic, b"literal"))
        scene.settle(raw)
    assert scene.heard_by_observer(b"literal") == [topic]
    assert not scene.heard_by_victim(b"literal")


def test_publish_foreign_over_websocket(scene: Scene) -> None:
    """The WebSocket listener decides the same."""
    own = scene.attacker.topic("state")
    with scene.fleet.connect(scene.attacker, websocket=True) as client:
        for qos in (0, 1, 2):
            client.publish(scene.victim.topic("state"), b"forged", qos=qos)
            assert client.publish(own, f"own {qos}", qos=qos)
            assert scene.observer.hears(own, f"own {qos}")
    scene.settle()
    assert not scene.heard_by_victim(b"forged")
    assert scene.heard_by_observer(b"forged") == []
