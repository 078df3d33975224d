"""Where a client may have responses sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access.decisions.scope import Action

if TYPE_CHECKING:
    from fleetkey.access.decisions.scope import TopicScope

__all__ = ["response_topics"]

REST = "/#"
MAX_PATTERNS = 32
"""Patterns of a scope that are looked at."""


def response_topics(scope: TopicScope) -> str | None:
    """Return the beginning of topics that a principal may subscribe to, whatever follows; None if there is none.

    It is what MQTT 5.0 calls response information (4.10.1): a client appends something of its own, and asks others to
    answer there. It grants nothing.
    """
    for number, pattern in enumerate(scope.patterns(Action.SUBSCRIBE)):
        prefix = pattern.removesuffix(REST)
        if prefix != pattern and "+" not in prefix:
            return f"{prefix}/"
        if number >= MAX_PATTERNS:
            break
    return None
