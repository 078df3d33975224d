"""Topic patterns in a trie of levels: a decision costs the depth of the topic, however many patterns there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.decisions.topics import DEVICE_PLACE, is_topic_filter
from fleetkey.access.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PatternTrie"]

MAX_PATTERN_LEVELS = 128
"""Levels of a pattern in a scope, and so the depth of the recursion that decides."""
SHOWN_CHARACTERS = 256


class _Node:
    """A node of the trie; each path from the root to a node with `ends` or `rests` is a pattern."""

    __slots__ = ("any_level", "ends", "levels", "rests")

    def __init__(self) -> None:
        self.levels: dict[str, _Node] = NONE
        self.any_level: _Node | None = None
        self.ends = 0
        """How many patterns end here; the same one may come from several devices."""
        self.rests = 0
        """How many continue from here with `#`."""

    @property
    def is_empty(self) -> bool:
        return not (self.levels or self.any_level or self.ends or self.rests)

    def copy(self) -> _Node:
        """Return a node with the same nodes below it."""
        copied = _Node()
        copied.levels = self.levels.copy() if self.levels else NONE
        copied.any_level, copied.ends, copied.rests = self.any_level, self.ends, self.rests
        return copied


NONE: dict[str, _Node] = {}
"""The levels of a node without any, which most are; it stays empty."""


class PatternTrie:
    """Compiled patterns. It never changes: `replacing` returns another one, which shares what is the same."""

    __slots__ = ("_root",)

    def __init__(self, patterns: Iterable[str] = (), *, has_device_places: bool = False) -> None:
        """Compile topic filters.

        Args:
            patterns: the filters.
            has_device_places: whether a level of them may be `DEVICE_PLACE`: of a filter, only `+` is within that.

        Raises:
            TemplateError: a pattern isn't a valid topic filter.
        """
        self._root = _Node()
        for pattern in patterns:
            _check(pattern.replace(DEVICE_PLACE, "+") if has_device_places else pattern)
            _add(self._root, pattern, None)

    def replacing(self, removed: Iterable[str], added: Iterable[str]) -> PatternTrie:
        """Return a trie without some patterns, which must be in this one, and with others.

        Only the nodes on the paths of these patterns are copied.

        Raises:
            TemplateError: a pattern isn't a valid topic filter.
        """
        trie = PatternTrie()
        trie._root = self._root.copy()
        copied = {trie._root}
        for pattern in removed:
            _remove(trie._root, pattern, copied)
        for pattern in added:
            _check(pattern)
            _add(trie._root, pattern, copied)
        return trie

    def matches(self, topic: str) -> bool:
        """Return whether a pattern matches a topic name."""
        levels = topic.split("/")
        if topic[0] == "$":
            # MQTT 3.1.1, 4.7.2-1: a pattern that starts with a wildcard doesn't match these.
            first = self._root.levels.get(levels[0])
            return first is not None and _matches_from(first, levels, 1)
        return _matches_from(self._root, levels, 0)

    def contains(self, topic_filter: str) -> bool:
        """Return whether one pattern covers everything that a filter can match."""
        levels = _levels(topic_filter)
        if topic_filter[0] == "$":
            first = self._root.levels.get(levels[0])
            return first is not None and _contains_from(first, levels, 1)
        return _contains_from(self._root, levels, 0)


def _add(root: _Node, pattern: str, copied: set[_Node] | None) -> None:
    node, takes_rest = root, pattern[-1] == "#"
    levels = _levels(pattern)
    for level in levels[:-1] if takes_rest else levels:
        node = _below(node, level, copied)
    if takes_rest:
        node.rests += 1
    else:
        node.ends += 1


def _remove(root: _Node, pattern: str, copied: set[_Node]) -> None:
    takes_rest, levels = pattern[-1] == "#", _levels(pattern)
    if takes_rest:
        del levels[-1]
    path = [root]
    for level in levels:
        path.append(_below(path[-1], level, copied))
    if takes_rest:
        path[-1].rests -= 1
    else:
        path[-1].ends -= 1
    for level in reversed(levels):
        if not path.pop().is_empty:
            break
        if level == "+":
            path[-1].any_level = None
        else:
            del path[-1].levels[level]


def _below(node: _Node, level: str, copied: set[_Node] | None) -> _Node:
    """Return the node of a level below, which the caller may change; there is one afterwards.

    Args:
        node: a node that the caller may change.
        level: the level.
        copied: the nodes that no other trie shares; others are copied first. None if nothing is shared.
    """
    below = node.any_level if level == "+" else node.levels.get(level)
    if below is not None and (copied is None or below in copied):
        return below
    below = _Node() if below is None else below.copy()
    if copied is not None:
        copied.add(below)
    if level == "+":
        node.any_level = below
    else:
        if node.levels is NONE:
            node.levels = {}
        node.levels[level] = below
    return below


def _check(pattern: str) -> None:
    if not is_topic_filter(pattern) or pattern.count("/") >= MAX_PATTERN_LEVELS:
        msg = f"{pattern[:SHOWN_CHARACTERS]!r} is not a topic filter of at most {MAX_PATTERN_LEVELS} levels"
        raise TemplateError(msg)


def _levels(topic_filter: str) -> list[str]:
    """Split a filter into levels; a leading `+/#` becomes `#`, since every topic has a first level."""
    levels = topic_filter.split("/")
    return levels[1:] if levels[:2] == ["+", "#"] else levels


def _matches_from(node: _Node, levels: list[str], position: int) -> bool:
    """Return whether a pattern below `node` matches the levels from `position` on."""
    for level in levels[position:]:
        if node.rests:
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
    return node.rests > 0 or node.ends > 0


def _contains_from(node: _Node, levels: list[str], position: int) -> bool:
    """Return whether one pattern below `node` covers everything that the levels from `position` on can match."""
    if node.rests:
        return True
    if position == len(levels):
        return node.ends > 0
    level = levels[position]
    if level == "#":
        return False
    following = node.levels.get(DEVICE_PLACE if level == "+" else level)
    if following is not None and _contains_from(following, levels, position + 1):
        return True
    return node.any_level is not None and _contains_from(node.any_level, levels, position + 1)
