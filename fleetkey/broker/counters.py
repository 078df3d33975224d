"""The broker's counters, which only increase."""

from __future__ import annotations

from collections import Counter, defaultdict

__all__ = ["Counters"]


class Counters:
    """Counts since the start."""

    __slots__ = (
        "bounds",
        "connections",
        "disconnections",
        "held_back_seconds",
        "messages_delivered",
        "messages_received",
        "refusals",
    )

    def __init__(self) -> None:
        self.messages_received = 0
        """Accepted PUBLISH packets."""
        self.messages_delivered = 0
        """Receivers of messages, summed; at QoS 0 including those that were disconnected or didn't read."""
        self.connections = 0
        """Accepted CONNECTs."""
        self.refusals: Counter[int] = Counter()
        """Refused CONNECTs, by return code (3.2.2.3)."""
        self.disconnections: Counter[str] = Counter()
        """Closed connections whose CONNECT had been accepted, by reason."""
        self.bounds: Counter[str] = Counter()
        """How often a bound was reached, by its setting."""
        self.held_back_seconds: defaultdict[str, float] = defaultdict(float)
        """How long devices over their rate weren't read from, summed, by the setting."""
