"""What an application key that reaches a single device can make the server keep, and do."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from benchmarks.abuse.mqtt_packets import log_in
from benchmarks.abuse.plan import Attack, Plan, Scene, Step
from tests.support.packets import publish, subscribe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["APPLICATION_ATTACKS"]

CONNECTIONS = 20_100
"""More than `[mqtt] max_connections`."""
REOPEN_SECONDS = 0.5
FILTERS = 1_000
"""`[mqtt] max_subscriptions_per_application`."""
FORKS = 14
"""Levels at which a topic goes two ways, so that a match visits 2^14 nodes."""
DEEP_LEVELS = 30
"""Below `devices/ID`, of `[mqtt] max_topic_levels`."""
QUEUES, SESSIONS = 500, 1_000
PARALLEL = 20
NEW_TOPICS = 60_000
"""More than the route cache keeps."""
SMALL, MIDDLE, LARGE = b"x", bytes(4_000), bytes(250_000)
CONNACK_BYTES = 4


def _connections(scene: Scene) -> list[Plan]:
    key = scene.applications[0]
    return [
        Plan(
            port=scene.mqtt_port,
            connections=CONNECTIONS,
            noun="connections",
            steps=lambda _, number: (log_in(key.session(number)),),
            reopen_seconds=REOPEN_SECONDS,
        )
    ]


def _away(scene: Scene, sessions: int, filters: Callable[[int], Sequence[str]]) -> list[Plan]:
    """Leave persistent sessions of the key behind, each with filters at QoS 1."""
    key = scene.applications[0]

    def steps(slot: int, _: int) -> tuple[Step, ...]:
        asked = subscribe(1, *((key.topic(rest), 1) for rest in filters(slot)))
        return Step(log_in(key.session(slot), clean=False), CONNACK_BYTES), Step(asked)

    return [Plan(port=scene.mqtt_port, connections=sessions, noun="sessions", steps=steps, leaves=True)]


def _forking(scene: Scene) -> list[Plan]:
    filters = ["/".join((*levels, "#")) for levels in itertools.product("a+", repeat=FORKS)]
    sessions = -(-len(filters) // FILTERS)
    return _away(scene, sessions, lambda slot: filters[slot * FILTERS : (slot + 1) * FILTERS])


def _new_topics(scene: Scene, prefix: str) -> list[Plan]:
    key = scene.applications[0]
    return [
        Plan(
            port=scene.mqtt_port,
            connections=1,
            noun="messages",
            steps=lambda _slot, number: (log_in(key.session(f"sender-{number}")),),
            flood=lambda _: b"".join(publish(key.topic(f"{prefix}{number}"), SMALL) for number in range(NEW_TOPICS)),
            per_flood=NEW_TOPICS,
        )
    ]


def _fan_out(scene: Scene, payload: bytes, count: int) -> list[Plan]:
    """Let the key's device publish to its sessions."""
    device = scene.devices[0]
    return [
        Plan(
            port=scene.mqtt_port,
            connections=1,
            noun="messages",
            steps=lambda _slot, _number: (log_in(device),),
            flood=lambda _: publish(device.topic("state"), payload, qos=1) * count,
            per_flood=count,
        )
    ]


def _deep_filters(scene: Scene) -> list[Plan]:
    key = scene.applications[0]

    def steps(_: int, number: int) -> tuple[Step, ...]:
        names = (f"{number * FILTERS + n:x}" for n in range(FILTERS))
        asked = subscribe(1, *((key.topic("/".join([name] * DEEP_LEVELS)), 1) for name in names))
        return Step(log_in(key.session(number), clean=False), CONNACK_BYTES), Step(asked)

    return [Plan(port=scene.mqtt_port, connections=PARALLEL, noun="sessions", steps=steps, leaves=True)]


APPLICATION_ATTACKS = (
    Attack(
        name="application-connections",
        summary="An application key opens more connections than `[mqtt] max_connections`",
        plans=_connections,
        hits_log_ins=True,
        hits_http=True,
    ),
    Attack(
        name="application-trie",
        summary="An application key publishes to new topics, which 2^14 filters of its absent sessions match",
        preparation=_forking,
        plans=lambda scene: _new_topics(scene, "a/" * FORKS),
    ),
    Attack(
        name="application-routes",
        summary="An application key publishes to new topics, to which 1,000 absent sessions of its subscribe",
        preparation=lambda scene: _away(scene, SESSIONS, lambda _: ["#"]),
        plans=lambda scene: _new_topics(scene, ""),
    ),
    Attack(
        name="application-queues",
        summary="A device publishes 4 KB at QoS 1, which 500 absent sessions of one application key queue",
        preparation=lambda scene: _away(scene, QUEUES, lambda _: ["#"]),
        plans=lambda scene: _fan_out(scene, MIDDLE, 10),
        victim_qos=1,
    ),
    Attack(
        name="application-filters",
        summary="An application key leaves sessions behind, each with 1,000 filters of 32 levels",
        plans=_deep_filters,
    ),
    Attack(
        name="application-fan-out",
        summary="A device publishes 250 KB at QoS 1, which 1,000 absent sessions of one application key queue",
        preparation=lambda scene: _away(scene, SESSIONS, lambda _: ["#"]),
        plans=lambda scene: _fan_out(scene, LARGE, 1),
        victim_qos=1,
    ),
)
