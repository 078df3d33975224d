"""A victim, an attacker and an observer who would see it if anything got through."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.packets import connect, publish
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet
    from tests.support.mqtt_client import MqttClient

__all__ = ["Scene", "raw_session", "staged"]


@dataclass(frozen=True, slots=True)
class Scene:
    """The victim listens to its own topics; the observer may hear and publish everything."""

    fleet: Fleet
    victim: Credentials
    attacker: Credentials
    victim_client: MqttClient
    observer: MqttClient

    def settle(self, attacker: Wire | None = None) -> None:
        """Return when whatever was sent so far would have arrived: later messages have, which is the control too."""
        if attacker is not None:
            mark, topic = secrets.token_hex(8), self.attacker.topic("mark")
            attacker.send(publish(topic, mark.encode()))
            assert self.observer.hears(topic, mark)
        mark, topic = secrets.token_hex(8), self.victim.topic("mark")
        assert self.victim_client.publish(topic, mark, qos=0)
        assert self.victim_client.hears(topic, mark)
        assert self.observer.hears(topic, mark)

    def heard_by_victim(self, payload: bytes) -> bool:
        """Whether the victim got a message with this payload."""
        return any(message.payload == payload for message in self.victim_client.messages)

    def heard_by_observer(self, payload: bytes) -> list[str]:
        """Return the topics on which the observer got this payload."""
        return [message.topic for message in self.observer.messages if message.payload == payload]


@contextmanager
def staged(fleet: Fleet) -> Iterator[Scene]:
    """Set the scene on a fleet."""
    victim, attacker = fleet.device(), fleet.device()
    everything = fleet.application(publish=("#",), subscribe=("#",))
    with fleet.connect(victim) as victim_client, fleet.connect(everything) as observer:
        assert victim_client.subscribe(victim.topic("#"), qos=0) == [0]
        assert observer.subscribe("#", qos=0) == [0]
        yield Scene(fleet, victim, attacker, victim_client, observer)


@contextmanager
def raw_session(fleet: Fleet, who: Credentials) -> Iterator[Wire]:
    """Log in with good credentials over a raw connection."""
    with Wire.to(fleet) as raw:
        assert raw.log_in(connect(who.client_id, username=who.key, password=who.secret)) == 0
        assert not raw.is_session_present
        yield raw
