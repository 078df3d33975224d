"""How fast one device may publish: two token buckets, for messages and for bytes. Pure arithmetic; the caller waits."""

from __future__ import annotations

__all__ = ["BURST_SECONDS", "MessageRate"]

BURST_SECONDS = 1.0
"""How many seconds' worth of messages and bytes may come at once after a pause."""
MESSAGES, BYTES = "max_messages_per_second", "max_bytes_per_second"


class MessageRate:
    """Counts what was published, and says how long to wait before the next message is taken.

    A message is always taken whole, however large it is; what it exceeds the buckets by is waited for afterwards. So in
    any `t` seconds at most `(BURST_SECONDS + t)` times the rate is taken, and one message more. Each bucket is the time
    at which it is full again: it empties as that time moves into the future.

    Args:
        messages_per_second: 0 = no limit.
        bytes_per_second: 0 = no limit. Whole packets count.
    """

    __slots__ = ("_bytes_full_at", "_messages_full_at", "_seconds_per_byte", "_seconds_per_message")

    def __init__(self, messages_per_second: int, bytes_per_second: int) -> None:
        self._seconds_per_message = 1 / messages_per_second if messages_per_second else 0.0
        self._seconds_per_byte = 1 / bytes_per_second if bytes_per_second else 0.0
        self._messages_full_at = self._bytes_full_at = 0.0

    def take(self, now: float, size: int) -> float:
        """Count a message of `size` bytes; return how many seconds to wait before the next one, if above 0."""
        messages = self._messages_full_at = max(self._messages_full_at, now) + self._seconds_per_message
        by_bytes = self._bytes_full_at = max(self._bytes_full_at, now) + self._seconds_per_byte * size
        return max(messages, by_bytes) - now - BURST_SECONDS

    def wait_seconds(self, now: float) -> float:
        """Return how many seconds to wait before the next message, if above 0."""
        return max(self._messages_full_at, self._bytes_full_at) - now - BURST_SECONDS

    def is_full(self, now: float) -> bool:
        """Whether it is as if nothing had ever been published."""
        return max(self._messages_full_at, self._bytes_full_at) <= now

    @property
    def tighter_bound(self) -> str:
        """The setting that makes the wait longer."""
        return MESSAGES if self._messages_full_at >= self._bytes_full_at else BYTES
