"""How long one topic decision takes: `decide` with a device's default scope, beside amqtt's own matching.

Publishing and receiving are held against `TopicMatcher`, subscribing against the access control list plugin's
comparison, both with the list `["devices/<id>/#"]`. Each side decides the same topics; `decide` also checks that they
are well-formed. The time includes the loop's own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from amqtt.plugins import TopicMatcher
from amqtt.plugins.topic_checking import TopicAccessControlListPlugin

from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.rounds import alternate
from fleetkey.access import Action, TopicScope, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BENCHMARK"]

DECISIONS = 40_000
ROUNDS = 7
MICROSECONDS = 1e6
MINE = "7f3a09c2d4e5b6018293a4b5"
OTHER = "0c1d2e3f405162738495a6b7"
TAILS = ("state", "command", "sensors/temperature", "firmware/1/progress", "log/boot/0")
FILTER_TAILS = ("#", "command", "sensors/+", "firmware/+/progress", "log/#")
PATTERN = f"devices/{MINE}/#"


def run() -> list[Figure]:
    """Measure every action, allowed and refused."""
    return [
        _figure(action, device_id, is_allowed=device_id == MINE) for action in Action for device_id in (MINE, OTHER)
    ]


def _figure(action: Action, device_id: str, *, is_allowed: bool) -> Figure:
    scope = TopicScope(publish=[PATTERN], subscribe=[PATTERN])
    tails = FILTER_TAILS if action is Action.SUBSCRIBE else TAILS
    topics = [f"devices/{device_id}/{tail}" for tail in tails]

    def ours(topic: str) -> bool:
        return decide(scope, action, topic)

    peer, peer_name = _peer(action)
    for topic in topics:
        assert ours(topic) is is_allowed
        assert peer(topic) is is_allowed
    ours_rounds, peer_rounds = alternate(
        lambda: _seconds_per_call(ours, topics) * MICROSECONDS,
        lambda: _seconds_per_call(peer, topics) * MICROSECONDS,
        rounds=ROUNDS,
    )
    return Figure(
        name=f"topics, {action.value} {'allowed' if is_allowed else 'refused'}",
        unit="µs",
        ours_rounds=ours_rounds,
        peer_rounds=peer_rounds,
        peer_name=peer_name,
        targets=(Target("ours", "<", 3),),
    )


def _peer(action: Action) -> tuple[Callable[[str], bool], str]:
    patterns = [PATTERN]
    if action is Action.SUBSCRIBE:
        topic_ac = TopicAccessControlListPlugin.topic_ac
        return lambda topic: any(topic_ac(topic, pattern) for pattern in patterns), "amqtt's TopicAccessControlList"
    matcher = TopicMatcher()
    return lambda topic: matcher.are_topics_allowed(topic, patterns), "amqtt's TopicMatcher"


def _seconds_per_call(call: Callable[[str], bool], topics: Sequence[str]) -> float:
    turns = range(DECISIONS // len(topics))
    start = time.perf_counter()
    for _ in turns:
        for topic in topics:
            call(topic)
    return (time.perf_counter() - start) / (len(turns) * len(topics))


BENCHMARK = Benchmark(name="topics", summary="deciding a topic for a device", run=run)
