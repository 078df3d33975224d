"""What the broker counts, for whoever asks; plain numbers that only grow."""

from __future__ import annotations

from collections import Counter

__all__ = ["Counters"]


class Counters:
    """Counts since the start."""

    __slots__ = ("bounds", "connections", "disconnections", "messages_delivered", "messages_received", "refusals")

    def __init__(self) -> None:
        self.messages_received = 0
        """PUBLISH packets that were taken."""
        self.messages_delivered = 0
        """Sessions that a message was for; at QoS 0 also those whose client was away or didn't read."""
        self.connections = 0
        """CONNECTs that were accepted."""
        self.refusals: Counter[int] = Counter()
        """CONNECTs that were refused, by return code (3.2.2.3)."""
        self.disconnections: Counter[str] = Counter()
        """Ends of accepted connections, by reason."""
        self.bounds: Counter[str] = Counter()
        """How often a bound was reached, by its setting."""
