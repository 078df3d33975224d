"""Answers that clients haven't read yet, charged in bytes: to each address, and to all connections together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from uvicorn.protocols.http.flow_control import FlowControl

    App = Callable[[Any, Any, Any], Awaitable[None]]

    class Connection(Protocol):
        """A connection that may be cut."""

        def cut(self, bound: str) -> None:
            """Abort the connection, which frees what is charged to it."""
            ...


__all__ = ["MAX_UNSENT_BYTES", "MAX_UNSENT_BYTES_PER_ADDRESS", "UNSENT", "WRITE_BUFFER_BYTES", "Unsent", "UnsentBytes"]

MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""Bytes of unread answers that all connections together hold; beyond that, one is aborted: of the address with the most
such bytes, the connection with the most."""
MAX_UNSENT_BYTES_PER_ADDRESS = 16 * 1024 * 1024
"""The same for the connections of one address, trusted proxies exempt."""
WRITE_BUFFER_BYTES = 16 * 1024
"""Bytes that a connection may have unsent without being charged, and before its next answer has to wait."""
UNSENT = "fleetkey_unsent"
"""The key in a request's scope for its connection's `Unsent`."""


class UnsentBytes:
    """What all connections of a server are charged."""

    def __init__(self) -> None:
        self.total = 0
        self._addresses: Counter[str | None] = Counter()
        self._connections: dict[str | None, dict[Connection, int]] = {}

    def charge(self, connection: Connection, bucket: str | None, count: int) -> None:
        """Charge what a connection holds now, and cut connections while that exceeds a bound, possibly this one.

        Args:
            connection: the connection.
            bucket: what its address is counted by; None = a trusted proxy, which many clients share.
            count: bytes.
        """
        held = self._connections.setdefault(bucket, {})
        growth = count - held.get(connection, 0)
        self.total += growth
        self._addresses[bucket] += growth
        if count:
            held[connection] = count
        else:
            held.pop(connection, None)
        if not held:
            del self._connections[bucket], self._addresses[bucket]
        if growth <= 0:
            return
        while bucket is not None and self._addresses[bucket] > MAX_UNSENT_BYTES_PER_ADDRESS:
            self._cut_one_of(bucket, "max_unsent_bytes_per_address")
        while self.total > MAX_UNSENT_BYTES:
            self._cut_one_of(max(self._addresses, key=self._addresses.__getitem__), "max_unsent_bytes")

    def _cut_one_of(self, bucket: str | None, bound: str) -> None:
        held = self._connections[bucket]
        # Its charge is gone once it is cut.
        max(held, key=held.__getitem__).cut(bound)


class Unsent:
    """What one connection is charged: what its transport holds while writing is paused, and answers that wait for that.

    Args:
        shared: what all connections are charged.
        connection: the connection.
        bucket: what its address is counted by.
        transport: its transport.
        flow: whether writing is paused.
    """

    def __init__(
        self,
        shared: UnsentBytes,
        connection: Connection,
        bucket: str | None,
        transport: asyncio.Transport,
        flow: FlowControl,
    ) -> None:
        self._shared = shared
        self._connection = connection
        self._bucket = bucket
        self._transport = transport
        self._flow = flow
        self._waiting = 0
        """Bytes that `send` was given and hasn't written yet."""
        self._request: Any = None
        """uvicorn's request being answered."""
        self._is_over = False

    @property
    def is_gone(self) -> bool:
        """Whether nobody will read the rest of the answer."""
        return self._is_over or self._request.disconnected

    async def drained(self) -> None:
        """Wait until the client has read nearly everything, or is gone. A long answer's next part is built then."""
        await self._flow.drain()

    def update(self) -> None:
        """Charge what is held now; call when writing is paused or resumed."""
        if not self._is_over:
            held = self._transport.get_write_buffer_size() if self._flow.write_paused else 0
            self._shared.charge(self._connection, self._bucket, held + self._waiting)

    def end(self) -> None:
        """Charge nothing any more."""
        self._is_over = True
        self._shared.charge(self._connection, self._bucket, 0)

    def charging(self, app: App, request: Any) -> App:
        """Return an application that starts once earlier answers are read, and is charged for what it sends."""
        self._request = request

        async def start(scope: Any, receive: Any, send: Any) -> None:
            # Otherwise, each queued request could build an answer that waits for the one before it.
            if self._flow.write_paused:
                await self._flow.drain()
                if self.is_gone:
                    return
            scope[UNSENT] = self

            async def charged(message: Any) -> None:
                if self._flow.write_paused:
                    await self._wait(len(message.get("body", b"")))
                await send(message)

            await app(scope, receive, charged)

        return start

    async def _wait(self, count: int) -> None:
        self._waiting += count
        self.update()
        try:
            await self._flow.drain()
        finally:
            self._waiting -= count
            self.update()
