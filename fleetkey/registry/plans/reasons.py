"""Bounded texts for audit entries, listing what was set or added."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["joined", "labels_reason"]

MAX_REASON_CHARACTERS = 500
"""Maximum length of a list in an audit entry; further items are counted. A single item may be longer."""


def labels_reason(labels: Mapping[str, str | None], prefix: str = "") -> list[str]:
    """Return `name=value` for what is set and `-name` for what is removed."""
    return [f"-{prefix}{name}" if value is None else f"{prefix}{name}={value}" for name, value in labels.items()]


def joined(items: Iterable[str]) -> str:
    """Join items with commas, as many as fit into `MAX_REASON_CHARACTERS`, but at least one."""
    shown: list[str] = []
    length = more = 0
    for item in items:
        length += len(item) + 2
        if shown and (more or length > MAX_REASON_CHARACTERS):
            more += 1
        else:
            shown.append(item)
    return ", ".join(shown) + (f" and {more} more" if more else "")
