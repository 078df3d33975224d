"""Nobody hears beyond its own topics, however the filter is spelt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.hostile_topics import BROKEN_FILTERS, FOREIGN_FILTERS, OWN_LOOKALIKES, spell
from tests.support.mqtt_client import REFUSED
from tests.support.packets import Kind, granted_of, publication_of, subscribe
from tests.support.scene import raw_session
from tests.support.versions import shared_code

if TYPE_CHECKING:
    from tests.support.scene import Scene
    from tests.support.wire import Wire


def _code(name: str) -> int:
    """Return how a foreign filter is answered; sharing one's own topics with oneself is nobody else's matter."""
    return shared_code(0) if name == "share_own" else REFUSED


def _hears_only_its_own(scene: Scene, raw: Wire, also: bytes | None = None) -> bool:
    """Publish to the victim, and to the filter itself if it can be a topic; then to the attacker, which ends it."""
    victim = scene.victim.topic("state")
    assert scene.observer.publish(victim, b"private", qos=1)
    if also is not None and not set(b"+#\0$") & set(also):
        assert scene.observer.publish(also.decode(), b"private", qos=1)
    assert scene.victim_client.hears(victim, b"private")
    own = scene.attacker.topic("end")
    assert scene.observer.publish(own, b"end", qos=1)
    while True:
        got = raw.find(Kind.PUBLISH)
        assert got is not None
        heard = publication_of(got)
        if (heard.topic, heard.payload) == (own, b"end"):
            return True
        if heard.payload == b"private":
            return False


@pytest.mark.parametrize("name", FOREIGN_FILTERS)
def test_subscribe_foreign_filter(scene: Scene, name: str) -> None:
    """A filter that reaches too far is refused with 0x80; the others of the same SUBSCRIBE are granted."""
    trick = spell(FOREIGN_FILTERS[name], victim=scene.victim.client_id, own=scene.attacker.client_id)
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(subscribe(7, scene.attacker.topic("a"), trick, scene.attacker.topic("#")))
        answer = raw.find(Kind.SUBACK)
        assert answer is not None
        assert granted_of(answer) == [0, _code(name), 0]
        assert _hears_only_its_own(scene, raw, also=trick)


def test_subscribe_all_foreign_filters_at_once(scene: Scene) -> None:
    """One SUBSCRIBE with every trick gets as many refusals."""
    names = {"victim": scene.victim.client_id, "own": scene.attacker.client_id}
    tricks = [spell(trick, **names) for trick in FOREIGN_FILTERS.values()]
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(subscribe(7, *tricks, scene.attacker.topic("#")))
        answer = raw.find(Kind.SUBACK)
        assert answer is not None
        assert granted_of(answer) == [*map(_code, FOREIGN_FILTERS), 0]
        assert _hears_only_its_own(scene, raw)


@pytest.mark.parametrize("trick", BROKEN_FILTERS.values(), ids=BROKEN_FILTERS)
def test_subscribe_broken_filter(scene: Scene, trick: bytes) -> None:
    """What is no topic filter is refused, or its sender is disconnected; it hears nothing by it."""
    broken = spell(trick, victim=scene.victim.client_id, own=scene.attacker.client_id)
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(subscribe(7, broken, scene.attacker.topic("end")))
        answer = raw.find(Kind.SUBACK)
        if answer is not None:
            assert granted_of(answer) == [REFUSED, 0]
            assert _hears_only_its_own(scene, raw)
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(subscribe(1, scene.attacker.topic("end")))
        assert raw.find(Kind.SUBACK) is not None
        assert _hears_only_its_own(scene, raw)


@pytest.mark.parametrize("trick", OWN_LOOKALIKES.values(), ids=OWN_LOOKALIKES)
def test_subscribe_own_lookalike(scene: Scene, trick: str) -> None:
    """A filter within the own topics that only looks like a way out is granted and leads nowhere."""
    own = spell(trick, victim=scene.victim.client_id, own=scene.attacker.client_id)
    with raw_session(scene.fleet, scene.attacker) as raw:
        raw.send(subscribe(7, own, scene.attacker.topic("end")))
        answer = raw.find(Kind.SUBACK)
        assert answer is not None
        assert granted_of(answer) == [0, 0]
        assert _hears_only_its_own(scene, raw)


def test_subscribe_foreign_over_websocket(scene: Scene) -> None:
    """The WebSocket listener decides the same."""
    filters = [scene.victim.topic("#"), "#", "devices/+/state", "$SYS/#", "$share/group/#"]
    with scene.fleet.connect(scene.attacker, websocket=True) as client:
        codes = client.subscribe(scene.attacker.topic("a"), *filters, scene.attacker.topic("b"))
        assert codes == [1, *[REFUSED] * len(filters), 1]
        assert scene.observer.publish(scene.victim.topic("state"), b"private")
        assert scene.victim_client.hears(scene.victim.topic("state"), b"private")
        assert scene.observer.publish(scene.attacker.topic("b"), b"end")
        assert client.hears(scene.attacker.topic("b"), b"end")
        assert client.heard == [(scene.attacker.topic("b"), b"end")]


def test_unsubscribe_foreign_filter(scene: Scene) -> None:
    """Unsubscribing from somebody else's filters takes nothing away from anyone."""
    with scene.fleet.connect(scene.attacker) as client:
        client.unsubscribe(scene.victim.topic("#"))
        client.unsubscribe("#")
    assert scene.observer.publish(scene.victim.topic("state"), b"still")
    assert scene.victim_client.hears(scene.victim.topic("state"), b"still")
    assert scene.observer.hears(scene.victim.topic("state"), b"still")
