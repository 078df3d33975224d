"""Topic names and topic filters, as far as a client has to know them (MQTT 3.1.1, 4.7)."""

from __future__ import annotations

__all__ = ["check_topic_filter", "check_topic_name"]

MAX_TOPIC_BYTES = 65_535


def check_topic_name(topic: str) -> None:
    """Check that a topic can be published to.

    Raises:
        ValueError: when it is empty, over 65,535 bytes, not UTF-8 or has a wildcard or NUL in it
            (MQTT 3.1.1, 3.3.2.1 and 4.7.3).
    """
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise ValueError("a topic to publish to has no wildcards (+, #) in it")


def check_topic_filter(topic_filter: str) -> None:
    """Check that a topic filter can be subscribed to.

    Raises:
        ValueError: when it is empty, over 65,535 bytes, not UTF-8, has a NUL in it or a wildcard that is not
            a level of its own, or `#` anywhere but last (MQTT 3.1.1, 4.7.1 and 4.7.3).
    """
    _check_text(topic_filter, "topic filter")
    levels = topic_filter.split("/")
    for position, level in enumerate(levels):
        if ("+" in level or "#" in level) and len(level) > 1:
            raise ValueError("a wildcard (+, #) in a topic filter stands alone between slashes")
        if level == "#" and position != len(levels) - 1:
            raise ValueError("# in a topic filter is its last level")


def _check_text(text: str, what: str) -> None:
    if not text:
        raise ValueError(f"a {what} has at least one character")
    if "\0" in text:
        raise ValueError(f"a {what} has no NUL character in it")
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"a {what} is UTF-8 text") from error
    if length > MAX_TOPIC_BYTES:
        raise ValueError(f"a {what} has at most {MAX_TOPIC_BYTES} bytes")
