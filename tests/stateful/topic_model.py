"""Which topics a filter matches and a scope reaches, by going through levels and examples; slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NOTHING", "Scope", "covers", "matches", "spans"]

ANY_OTHER_LEVEL = "~"
"""A level that no filter in the tests names."""


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic name (MQTT 3.1.1, 4.7)."""
    if topic.startswith("$") and not topic_filter.startswith("$"):
        return False  # 4.7.2-1
    return _match_levels(topic_filter.split("/"), topic.split("/"))


def _match_levels(filter_levels: list[str], levels: list[str]) -> bool:
    if not filter_levels:
        return not levels
    first, rest = filter_levels[0], filter_levels[1:]
    if first == "#":
        return True
    return bool(levels) and first in {"+", levels[0]} and _match_levels(rest, levels[1:])


@lru_cache(maxsize=8192)
def covers(pattern: str, topic_filter: str) -> bool:
    """Whether a pattern matches every topic that a filter matches, tried on examples.

    One level that neither names stands for all such levels, and `#` for as many levels as the pattern has and one more.
    """
    return all(matches(pattern, topic) for topic in _examples(pattern, topic_filter))


def spans(pattern: str, topic_filter: str) -> bool:
    """Whether a filter has `+` where a pattern has `*`, the place of a device, and is covered by it otherwise."""
    levels = topic_filter.split("/")
    places = [place for place, level in enumerate(pattern.split("/")) if level == "*"]
    is_open = all(levels[place : place + 1] == ["+"] for place in places)
    return is_open and not topic_filter.startswith("$") and covers(pattern.replace("*", "+"), topic_filter)


def _examples(pattern: str, topic_filter: str) -> Iterator[str]:
    names = sorted({*pattern.split("/"), *topic_filter.split("/"), ANY_OTHER_LEVEL} - {"+", "#"})
    levels = topic_filter.split("/")
    takes_rest = levels[-1] == "#"
    choices = [names if level == "+" else [level] for level in (levels[:-1] if takes_rest else levels)]
    for extra in range(len(pattern.split("/")) + 2 if takes_rest else 1):
        for example in product(*choices, *[names] * extra):
            topic = "/".join(example)
            if topic and matches(topic_filter, topic):
                yield topic


@dataclass(frozen=True, slots=True)
class Scope:
    """What a principal may publish to and hear, as MQTT filters."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    across: tuple[str, ...] = ()
    """What may be subscribed to with `+` in place of its devices, which are `*` here, and only that."""

    def reaches(self, action: str, topic: str) -> bool:
        """Whether someone may `publish` to a topic, or `receive` from it; nobody publishes to `$…`."""
        if action == "publish":
            return not topic.startswith("$") and any(matches(pattern, topic) for pattern in self.publish)
        return any(matches(pattern, topic) for pattern in self.subscribe)

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether one pattern has every topic that the filter can match, or spans it."""
        return any(covers(pattern, topic_filter) for pattern in self.subscribe) or any(
            spans(pattern, topic_filter) for pattern in self.across
        )


NOTHING = Scope((), ())
