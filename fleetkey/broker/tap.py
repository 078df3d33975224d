"""Taps: listening to topics, such as one device's, through a server session that no client can take over."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from fleetkey.access import Principal, TopicScope
from fleetkey.broker.codec import MQTT_3_1_1, Codec, Reason, SubscriptionOptions
from fleetkey.broker.engine import TappedMessage
from fleetkey.registry import KeyKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from fleetkey.broker.session import Session
    from fleetkey.broker.sessions import Sessions
    from fleetkey.registry import RefusalReason

__all__ = ["tapped"]

MAX_TAPPED_MESSAGES = 100
"""Messages buffered for the reader of a tap; beyond that, the oldest are dropped and counted."""
MAX_TAPPED_BYTES = 1024 * 1024
"""Bytes of such messages; beyond that, the oldest are dropped and counted too."""


class _Tap:
    """A tap's connection: a `ClientSink` that buffers the newest packets."""

    def __init__(self, principal: Principal) -> None:
        self.address = ""
        self.codec: Codec = MQTT_3_1_1
        self.principal: Principal | None = principal
        self.session: Session | None = None
        self.is_paused = False
        self.is_deciding = False
        self.max_inflight = 1
        self._packets: deque[bytes] = deque()
        self._bytes = 0
        self._missed = 0
        self._wake = asyncio.Event()
        self._is_closed = False

    def send(self, data: bytes) -> None:
        """Buffer a QoS 0 PUBLISH, the only kind of packet sent to a tap."""
        self._packets.append(data)
        self._bytes += len(data)
        while len(self._packets) > MAX_TAPPED_MESSAGES or (self._bytes > MAX_TAPPED_BYTES and len(self._packets) > 1):
            self._bytes -= len(self._packets.popleft())
            self._missed += 1
        self._wake.set()

    async def next(self) -> TappedMessage | None:
        """Return the next message; None if the tap was closed."""
        while not self._packets:
            if self._is_closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        packet = self._packets.popleft()
        self._bytes -= len(packet)
        missed, self._missed = self._missed, 0
        topic, payload = _read(packet)
        return TappedMessage(topic=topic, payload=payload, missed=missed)

    def has_room(self, size: int) -> bool:
        """Return that there is: what is buffered is bounded."""
        del size
        return True

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Do nothing: nothing is acknowledged."""

    def log_refusal(self, action: str, topic: bytes, why: RefusalReason | None = None, detail: str = "") -> None:
        """Do nothing: nothing is refused."""

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call `callback` in the loop's next turn."""
        asyncio.get_running_loop().call_soon(callback, *arguments)

    def check_room_next(self) -> None:
        """Do nothing: it reads nothing."""

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close the tap."""
        del reason, is_graceful
        self._is_closed = True
        self._wake.set()

    def abort(self, reason: Reason) -> None:
        """Close the tap."""
        self.close(reason)

    def stop(self) -> None:
        """Do nothing: a tap's principal is never revoked."""


async def tapped(sessions: Sessions, filters: Iterable[str]) -> AsyncIterator[TappedMessage]:
    """Yield the messages on matching topics, retained ones first, until the iterator is closed."""
    filters = tuple(filters)
    scope = TopicScope(publish=(), subscribe=filters)
    tap = _Tap(Principal(key="", kind=KeyKind.APPLICATION, device_id=None, name="tap", scope=scope))
    # No client id can contain a NUL (MQTT 3.1.1, 1.5.3-2).
    session = sessions.add(f"\0tap-{secrets.token_hex(8)}", "", is_kept=False)
    session.connection, session.principal, tap.session = tap, tap.principal, session
    try:
        for topic_filter in filters:
            sessions.subscribe(session, topic_filter, SubscriptionOptions(0))
        while (message := await tap.next()) is not None:
            yield message
    finally:
        sessions.drop(session)


def _read(packet: bytes) -> tuple[str, bytes]:
    """Return topic and payload of a QoS 0 PUBLISH that has already been authorized."""
    start = 1
    while packet[start] & 0x80:
        start += 1
    start += 1
    topic_end = start + 2 + int.from_bytes(packet[start : start + 2], "big")
    return packet[start + 2 : topic_end].decode(), packet[topic_end:]
