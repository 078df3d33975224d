"""Decides which topics a principal may use: one pure function, for every action and every broker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.access.decisions.topics import is_topic_filter, is_topic_name
from fleetkey.access.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetkey.registry import ApplicationScope

__all__ = ["Action", "Reach", "TopicScope", "decide", "receives"]

MAX_PATTERN_LEVELS = 128
"""Levels of a pattern in a scope, and so the depth of the recursion that decides."""
SHOWN_CHARACTERS = 256


class Action(StrEnum):
    """What a client does with a topic."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    RECEIVE = "receive"


PUBLISH, RECEIVE = Action.PUBLISH, Action.RECEIVE
"""By themselves: looking up an enum's member takes longer than comparing with it."""


class _Node:
    """A node of the trie of patterns; each path from the root to a node with `is_end` or `takes_rest` is a pattern."""

    __slots__ = ("any_level", "is_end", "levels", "takes_rest")

    def __init__(self) -> None:
        self.levels: dict[str, _Node] = {}
        self.any_level: _Node | None = None
        self.is_end = False
        self.takes_rest = False


class TopicScope:
    """Compiled topic filters: some for publishing, others for subscribing and receiving."""

    __slots__ = ("_publish", "_subscribe", "publish", "subscribe")

    def __init__(self, *, publish: Iterable[str], subscribe: Iterable[str]) -> None:
        """Compile patterns.

        Raises:
            TemplateError: a pattern isn't a valid topic filter.
        """
        self.publish = tuple(publish)
        self.subscribe = tuple(subscribe)
        self._publish = _compile(self.publish)
        self._subscribe = self._publish if self.subscribe == self.publish else _compile(self.subscribe)

    def __repr__(self) -> str:
        """Return the patterns."""
        return f"TopicScope(publish={self.publish!r}, subscribe={self.subscribe!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an application's topic scope was compiled from."""

    scope: ApplicationScope
    device_ids: frozenset[str]
    """The devices that the application reaches by id or tag."""
    has_tags_in_topics: bool
    """Whether a device's tags may be part of its topics."""


def decide(scope: TopicScope, action: Action, topic: str) -> bool:
    """Decide whether a scope allows an action on a topic name or, for SUBSCRIBE, a topic filter.

    PUBLISH: allowed if the topic matches a publish pattern; one that starts with `$` never does (MQTT 3.1.1, 4.7.2).
    SUBSCRIBE: allowed if one subscribe pattern covers every topic that the filter can match. A filter that starts with
    `$`, such as a shared subscription, needs a pattern that names that first level.
    RECEIVE: allowed if the topic matches a subscribe pattern.

    Malformed topics and filters are refused.
    """
    if action is PUBLISH:
        return is_topic_name(topic) and topic[0] != "$" and _matches(scope._publish, topic)  # noqa: SLF001
    if action is RECEIVE:
        return is_topic_name(topic) and _matches(scope._subscribe, topic)  # noqa: SLF001
    return is_topic_filter(topic) and _contains(scope._subscribe, topic)  # noqa: SLF001


def receives(scope: TopicScope, topic: str) -> bool:
    """Return what `decide` returns for RECEIVE, for what is known to be a topic name: a step of each delivery."""
    return _matches(scope._subscribe, topic)  # noqa: SLF001


def _compile(patterns: tuple[str, ...]) -> _Node:
    root = _Node()
    for pattern in patterns:
        if not is_topic_filter(pattern) or pattern.count("/") >= MAX_PATTERN_LEVELS:
            msg = f"{pattern[:SHOWN_CHARACTERS]!r} is not a topic filter of at most {MAX_PATTERN_LEVELS} levels"
            raise TemplateError(msg)
        node = root
        for level in _levels(pattern):
            if level == "#":
                node.takes_rest = True
                break
            if level == "+":
                node.any_level = node.any_level or _Node()
                node = node.any_level
            else:
                node = node.levels.setdefault(level, _Node())
        else:
            node.is_end = True
    return root


def _levels(topic_filter: str) -> list[str]:
    """Split a filter into levels; a leading `+/#` becomes `#`, since every topic has a first level."""
    levels = topic_filter.split("/")
    return levels[1:] if levels[:2] == ["+", "#"] else levels


def _matches(root: _Node, topic: str) -> bool:
    levels = topic.split("/")
    if topic[0] == "$":
        # MQTT 3.1.1, 4.7.2-1: a pattern that starts with a wildcard doesn't match these.
        first = root.levels.get(levels[0])
        return first is not None and _matches_from(first, levels, 1)
    return _matches_from(root, levels, 0)


def _matches_from(node: _Node, levels: list[str], position: int) -> bool:
    """Return whether a pattern below `node` matches the levels from `position` on."""
    for level in levels[position:]:
        if node.takes_rest:
            return True
        position += 1
        following, any_level = node.levels.get(level), node.any_level
        if following is None:
            if any_level is None:
                return False
            node = any_level
        else:
            if any_level is not None and _matches_from(any_level, levels, position):
                return True
            node = following
    return node.takes_rest or node.is_end


def _contains(root: _Node, topic_filter: str) -> bool:
    levels = _levels(topic_filter)
    if topic_filter[0] == "$":
        first = root.levels.get(levels[0])
        return first is not None and _contains_from(first, levels, 1)
    return _contains_from(root, levels, 0)


def _contains_from(node: _Node, levels: list[str], position: int) -> bool:
    """Return whether one pattern below `node` covers everything that the levels from `position` on can match."""
    if node.takes_rest:
        return True
    if position == len(levels):
        return node.is_end
    level = levels[position]
    if level == "#":
        return False
    if level != "+":
        following = node.levels.get(level)
        if following is not None and _contains_from(following, levels, position + 1):
            return True
    return node.any_level is not None and _contains_from(node.any_level, levels, position + 1)
