"""Valid topic names and topic filters (MQTT 3.1.1, 4.7)."""

from __future__ import annotations

__all__ = ["DEVICE_PLACE", "MAX_TOPIC_BYTES", "is_topic_filter", "is_topic_name"]

MAX_TOPIC_BYTES = 65_535
"""The longest string that a two-byte length prefix allows (MQTT 3.1.1, 1.5.3)."""
DEVICE_PLACE = "\0"
"""The level of a pattern in which any device's id or serial may be. No topic or filter has NUL in it (1.5.3-2)."""


def is_topic_name(text: str) -> bool:
    """Return whether a text is a topic name: not empty, no wildcards, no NUL (4.7.3, 4.7.1)."""
    return bool(text) and "+" not in text and "#" not in text and _is_utf8_string(text)


def is_topic_filter(text: str) -> bool:
    """Return whether a text is a topic filter: `+` fills a whole level, `#` the last one (4.7.1-2, 4.7.1-3)."""
    if not text or not _is_utf8_string(text):
        return False
    if "#" in text and (text.index("#") != len(text) - 1 or text[-2:] not in {"#", "/#"}):
        return False
    return "+" not in text or all(level == "+" for level in text.split("/") if "+" in level)


def _is_utf8_string(text: str) -> bool:
    if "\0" in text:
        return False
    if text.isascii():
        return len(text) <= MAX_TOPIC_BYTES
    try:
        return len(text.encode()) <= MAX_TOPIC_BYTES
    except UnicodeEncodeError:
        return False
