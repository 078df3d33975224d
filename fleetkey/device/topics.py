"""Checks of topic names and topic filters (MQTT 3.1.1, 4.7)."""

from __future__ import annotations

__all__ = ["check_topic_filter", "check_topic_name"]

MAX_TOPIC_BYTES = 65_535


def check_topic_name(topic: str) -> None:
    """Check that a topic can be published to.

    Raises:
        ValueError: it is empty, longer than 65,535 bytes, not UTF-8, or contains a wildcard or NUL
            (MQTT 3.1.1, 3.3.2.1 and 4.7.3).
    """
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise ValueError("a topic to publish to must not contain wildcards (+, #)")


def check_topic_filter(topic_filter: str) -> None:
    """Check that a topic filter can be subscribed to.

    Raises:
        ValueError: it is empty, longer than 65,535 bytes, not UTF-8, contains a NUL or a wildcard that is not a whole
            level, or `#` anywhere but at the end (MQTT 3.1.1, 4.7.1 and 4.7.3).
    """
    _check_text(topic_filter, "topic filter")
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if ("+" in level or "#" in level) and len(level) > 1:
            raise ValueError("a wildcard (+, #) in a topic filter must be a whole level")
        if level == "#" and position != len(levels) - 1:
            raise ValueError("# in a topic filter must be the last level")


def _check_text(text: str, what: str) -> None:
    if not text:
        raise ValueError(f"a {what} must not be empty")
    if "\0" in text:
        raise ValueError(f"a {what} must not contain a NUL character")
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"a {what} must be valid UTF-8") from error
    if length > MAX_TOPIC_BYTES:
        raise ValueError(f"a {what} must be at most {MAX_TOPIC_BYTES} bytes")
