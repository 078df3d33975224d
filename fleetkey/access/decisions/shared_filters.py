"""Filters of shared subscriptions: `$share/GROUP/FILTER` (MQTT 5.0, 4.8.2)."""

from __future__ import annotations

__all__ = ["is_shared", "split_shared"]

PREFIX = "$share/"


def is_shared(topic_filter: str) -> bool:
    """Return whether a filter is that of a shared subscription."""
    return topic_filter.startswith(PREFIX)


def split_shared(topic_filter: str) -> tuple[str, str]:
    """Return the group's name and the filter of a shared subscription; the name is empty if it is ill-formed."""
    name, _, inner = topic_filter[len(PREFIX) :].partition("/")
    if not inner or "+" in name or "#" in name:
        # 4.8.2-1, 4.8.2-2
        return "", topic_filter
    return name, inner
