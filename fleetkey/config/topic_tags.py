"""Placeholders in topic patterns, and the tags that devices need for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["OWN_PLACEHOLDERS", "PLACEHOLDER", "is_safe_in_topics", "missing_tags", "missing_tags_text", "tag_names"]

PLACEHOLDER = re.compile(r"\{(device_id|serial|tag:[^{}/]+)\}")
"""The placeholders that may stand for a whole level of a topic pattern."""
OWN_PLACEHOLDERS = frozenset({"{device_id}", "{serial}"})
"""Those whose values no two devices have in common."""
FORBIDDEN = frozenset("+#/$\0")
MAX_NAMED_TAGS = 5
"""How many missing tags the log and the audit name."""


def is_safe_in_topics(value: str) -> bool:
    """Whether a value is safe as a level of a topic: not empty, and without special characters."""
    # `split` finds exactly the characters for which `isspace` is true, and returns nothing for an empty value.
    return value.split() == [value] and FORBIDDEN.isdisjoint(value)


def tag_names(patterns: Iterable[str]) -> frozenset[str]:
    """Return the tags that topic patterns use."""
    found = (match[1] for pattern in patterns for match in PLACEHOLDER.finditer(pattern))
    return frozenset(name.removeprefix("tag:") for name in found if name.startswith("tag:"))


def missing_tags(patterns: Iterable[str], tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the tags in the patterns that the device lacks, or whose value isn't safe in a topic."""
    return tuple(name for name in sorted(tag_names(patterns)) if not is_safe_in_topics(tags.get(name, "")))


def missing_tags_text(patterns: Iterable[str], tags: Mapping[str, str]) -> str:
    """Return the first `MAX_NAMED_TAGS` missing tags for the log or the audit; empty if none is missing."""
    return ",".join(missing_tags(patterns, tags)[:MAX_NAMED_TAGS])
