"""Decides which topics a principal may use: one pure function, for every action and every broker."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.access.decisions.pattern_trie import PatternTrie
from fleetkey.access.decisions.topics import is_topic_filter, is_topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Action", "TopicScope", "decide", "receives"]


class Action(StrEnum):
    """What a client does with a topic."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"


PUBLISH, RECEIVE = Action.PUBLISH, Action.RECEIVE
"""By themselves: looking up an enum's member takes longer than comparing with it."""


class TopicScope:
    """Compiled topic filters: some for publishing, others for subscribing and receiving.

    Args:
        publish: the patterns to publish to.
        subscribe: the patterns to subscribe to and receive.
        across_devices: patterns with `DEVICE_PLACE` in place of a device's id or serial. A filter with `+` there may be
            subscribed to where each delivery is decided by itself; they allow nothing else.
        of_devices: by device id, the patterns of each device that an application reaches, for both directions.

    Raises:
        TemplateError: a pattern isn't a valid topic filter.
    """

    __slots__ = ("_across_devices", "_publish", "_subscribe", "across_devices", "of_devices", "publish", "subscribe")

    def __init__(
        self,
        *,
        publish: Iterable[str],
        subscribe: Iterable[str],
        across_devices: Iterable[str] = (),
        of_devices: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.publish = tuple(publish)
        self.subscribe = tuple(subscribe)
        self.across_devices = tuple(across_devices)
        self.of_devices = dict(of_devices or {})
        patterns = [pattern for of_device in self.of_devices.values() for pattern in of_device]
        self._publish = PatternTrie((*patterns, *self.publish))
        self._subscribe = self._publish if self.subscribe == self.publish else PatternTrie((*patterns, *self.subscribe))
        self._across_devices = PatternTrie(self.across_devices, has_device_places=True)

    def __repr__(self) -> str:
        """Return the patterns, but of the devices only how many there are."""
        return (
            f"TopicScope(publish={self.publish!r}, subscribe={self.subscribe!r}, "
            f"across_devices={self.across_devices!r}, of_devices={len(self.of_devices)})"
        )

    def has_same_patterns(self, other: TopicScope) -> bool:
        """Whether another scope has the same patterns."""
        return (self.publish, self.subscribe, self.across_devices, self.of_devices) == (
            other.publish,
            other.subscribe,
            other.across_devices,
            other.of_devices,
        )

    def patterns(self, action: Action) -> Iterator[str]:
        """Yield the patterns for an action: its own first, then those of the devices that an application reaches."""
        yield from self.publish if action is PUBLISH else self.subscribe
        for of_device in self.of_devices.values():
            yield from of_device

    def with_devices(self, patterns: Mapping[str, tuple[str, ...] | None]) -> tuple[TopicScope, frozenset[str]]:
        """Return a scope that has other patterns of some devices, None for those it doesn't reach, and what changed.

        The cost grows with the number of these devices; that of the others is little more than copying a dictionary.
        """
        of_devices, removed, added = self.of_devices.copy(), list[str](), list[str]()
        for device_id, new in patterns.items():
            removed += of_devices.pop(device_id, ())
            if new is not None:
                of_devices[device_id] = new
                added += new
        scope = TopicScope(publish=(), subscribe=(), across_devices=self.across_devices)
        scope.publish, scope.subscribe, scope.of_devices = self.publish, self.subscribe, of_devices
        scope._publish = self._publish.replacing(removed, added)
        scope._subscribe = (
            scope._publish if self._subscribe is self._publish else self._subscribe.replacing(removed, added)
        )
        return scope, frozenset((*removed, *added))


def decide(scope: TopicScope, action: Action, topic: str, *, each_delivery_is_decided: bool = False) -> bool:
    """Decide whether a scope allows an action on a topic name or, for SUBSCRIBE, a topic filter.

    PUBLISH: allowed if the topic matches a publish pattern; one that starts with `$` never does (MQTT 3.1.1, 4.7.2).
    SUBSCRIBE: allowed if one subscribe pattern covers every topic that the filter can match. A filter that starts with
    `$`, such as a shared subscription, needs a pattern that names that first level. If `each_delivery_is_decided`,
    whichever way the message takes, a filter may also have `+` in place of an application's devices: it is allowed if
    one of `across_devices` covers it. Without that, it would bring messages of devices outside the scope.
    RECEIVE: allowed if the topic matches a subscribe pattern.

    Malformed topics and filters are refused.
    """
    if action is PUBLISH:
        return is_topic_name(topic) and topic[0] != "$" and scope._publish.matches(topic)  # noqa: SLF001
    if action is RECEIVE:
        return is_topic_name(topic) and scope._subscribe.matches(topic)  # noqa: SLF001
    if not is_topic_filter(topic):
        return False
    if scope._subscribe.contains(topic):  # noqa: SLF001
        return True
    return each_delivery_is_decided and topic[0] != "$" and scope._across_devices.contains(topic)  # noqa: SLF001


def receives(scope: TopicScope, topic: str) -> bool:
    """Return what `decide` returns for RECEIVE, for what is known to be a topic name: a step of each delivery."""
    return scope._subscribe.matches(topic)  # noqa: SLF001
