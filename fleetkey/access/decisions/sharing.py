"""Which topics devices share: where the patterns in the settings isolate nothing, found before any device connects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.access.decisions.templates import PRESETS
from fleetkey.config.topic_tags import OWN_PLACEHOLDERS, tag_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fleetkey.config import ProfileSettings, TopicSettings

__all__ = ["Sharing", "SharingKind", "can_meet", "find_sharing"]

MAX_FOUND = 100
"""How many pairs of patterns are found of each kind, and as many that are meant."""


class SharingKind(StrEnum):
    """What sharing a topic lets one device do to another."""

    HEARD = "heard"
    """What one publishes reaches the other: it can be read, and it can pass for a command."""
    IMPERSONATED = "impersonated"
    """Both publish to one topic: whoever subscribes can't tell them apart."""
    BROADCAST = "broadcast"
    """Both receive one topic, and no device publishes there: harmless unless a back end means only one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Two patterns that can match one topic although they are filled in for two different devices.

    Args:
        kind: what follows from it.
        first: a pattern of one device: to publish, or for a broadcast to subscribe.
        second: a pattern of the other: to subscribe, or for an impersonation to publish.
        is_meant: whether the settings say that devices are meant to share topics.
    """

    kind: SharingKind
    first: str
    second: str
    is_meant: bool

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags in both patterns: devices share topics only if they have the same values of these."""
        return tuple(sorted(tag_names([self.first]) & tag_names([self.second])))


@dataclass(frozen=True, slots=True)
class _Patterns:
    publish: Sequence[str]
    subscribe: Sequence[str]
    shared: bool


def find_sharing(topics: TopicSettings, profiles: Mapping[str, ProfileSettings]) -> list[Sharing]:
    """Find what devices share by the patterns of `[topics]` and of the profiles, worst first.

    Patterns isolate two devices if `{device_id}` or `{serial}` keeps them apart. A pattern without either is the same
    for every device, or for those with the same tags. What follows depends on the direction: see `SharingKind`. A
    pattern that receives what devices publish is not listed as a broadcast as well.

    Args:
        topics: the patterns of devices without a profile.
        profiles: the patterns of others. Sharing is meant if either of the two devices has `shared`, in its profile or
            in `topics`.

    Returns:
        Each pair of patterns once, at most `MAX_FOUND` of each kind, and as many that are meant.
    """
    sets = list(_sets(topics, profiles))
    # Nobody may publish to topics that begin with $.
    publish = _by_pattern(
        (pattern, one.shared) for one in sets for pattern in one.publish if not pattern.startswith("$")
    )
    subscribe = _by_pattern((pattern, one.shared) for one in sets for pattern in one.subscribe)
    heard = _meeting(SharingKind.HEARD, publish, subscribe)
    impersonated = _meeting(SharingKind.IMPERSONATED, publish, publish)
    tree = _Tree(publish)
    unheard = {pattern: shared for pattern, shared in subscribe.items() if not any(tree.meeting(pattern))}
    broadcast = _meeting(SharingKind.BROADCAST, unheard, unheard)
    return [*heard, *impersonated, *broadcast]


def can_meet(first: str, second: str) -> bool:
    """Whether two patterns can match one topic, filled in for two different devices.

    Placeholders for ids and serials differ between devices and are no level of anybody else's; a tag may have the same
    value. Patterns without placeholders are compared as the filters that they are.
    """
    return any(_Tree([second]).meeting(first))


def _sets(topics: TopicSettings, profiles: Mapping[str, ProfileSettings]) -> Iterator[_Patterns]:
    preset_publish, preset_subscribe = PRESETS[topics.preset]
    general = _Patterns(topics.publish or preset_publish, topics.subscribe or preset_subscribe, topics.shared)
    yield general
    for profile in profiles.values():
        shared = topics.shared if profile.shared is None else profile.shared
        yield _Patterns(profile.publish or general.publish, profile.subscribe or general.subscribe, shared)


def _by_pattern(patterns: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    """Return for each pattern whether sharing it is meant wherever it is used."""
    found: dict[str, bool] = {}
    for pattern, shared in patterns:
        found[pattern] = found.get(pattern, True) and shared
    return found


def _meeting(kind: SharingKind, firsts: Mapping[str, bool], seconds: Mapping[str, bool]) -> list[Sharing]:
    """Return up to `MAX_FOUND` pairs that aren't meant, and as many that are."""
    tree = _Tree(seconds)
    found: dict[bool, list[Sharing]] = {False: [], True: []}
    for first, is_meant in firsts.items():
        for second in tree.meeting(first):
            of_both = found[is_meant or seconds[second]]
            # Among themselves, each pair is found twice.
            if (firsts is not seconds or first <= second) and len(of_both) < MAX_FOUND:
                of_both.append(Sharing(kind=kind, first=first, second=second, is_meant=is_meant or seconds[second]))
    return [*found[False], *found[True]]


class _Tree:
    """Patterns by level, so that a thousand profiles with topics of their own are not compared with each other."""

    __slots__ = ("ends", "others", "words")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.words: dict[str, _Tree] = {}
        """By a level that is a plain word."""
        self.others: dict[str, _Tree] = {}
        """By a level that is a wildcard or a placeholder."""
        self.ends: list[str] = []
        """The patterns that end here."""
        for pattern in patterns:
            node = self
            for level in pattern.split("/"):
                node = node.branches(level).setdefault(level, _Tree())
            node.ends.append(pattern)

    def meeting(self, pattern: str) -> Iterator[str]:
        """Yield the patterns that this one can meet."""
        return self.meeting_from(pattern.split("/"), 0)

    def meeting_from(self, levels: Sequence[str], position: int) -> Iterator[str]:
        """Yield those whose levels from here on can meet a pattern's levels from `position` on."""
        if position == len(levels):
            yield from self.ends
            # `a/#` includes `a` (MQTT 3.1.1, 4.7.1.2).
            yield from self.others["#"].ends if "#" in self.others else ()
            return
        for level, node in self._near(levels[position]):
            if position == 0 and level != levels[0] and "$" in {level[:1], levels[0][:1]}:
                # A wildcard in the first level matches no such topic (MQTT 3.1.1, 4.7.2-1).
                continue
            if "#" in {level, levels[position]}:
                yield from node.everything()
            else:
                yield from node.meeting_from(levels, position + 1)
        if levels[position] == "#":
            yield from self.ends

    def _near(self, level: str) -> Iterator[tuple[str, _Tree]]:
        """Yield the levels here that can be the same as this one."""
        if _is_word(level):
            if level in self.words:
                yield level, self.words[level]
        elif level not in OWN_PLACEHOLDERS:
            yield from self.words.items()
        for other, node in self.others.items():
            if {"+", "#"} & {level, other} or not ({level, other} & OWN_PLACEHOLDERS):
                yield other, node

    def branches(self, level: str) -> dict[str, _Tree]:
        """Return the branches among which one for this level belongs."""
        return self.words if _is_word(level) else self.others

    def everything(self) -> Iterator[str]:
        """Yield all patterns from here on."""
        yield from self.ends
        for node in (*self.words.values(), *self.others.values()):
            yield from node.everything()


def _is_word(level: str) -> bool:
    return level not in {"+", "#"} and not level.startswith("{")
