"""Limits on connections: in total, per address, and on silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fleetkey.access import address_bucket
from fleetkey.broker.codec import Reason
from fleetkey.broker.refusals import Refusals
from fleetkey.broker.scheduler import TICK_SECONDS
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import WriteScheduler
    from fleetkey.operations import Descriptors

__all__ = ["ConnectionLimits"]


PENDING_CONNECTION_BYTES = 2_250
"""Memory of an unauthenticated connection that hasn't sent anything."""
MAX_PENDING_BYTES = 32 * 1024 * 1024
"""How many bytes all unauthenticated connections together may hold; one that would exceed it is closed."""


class Counted(Protocol):
    """The parts of a connection that are used here."""

    address: str
    listener: str
    keep_alive_seconds: float
    last_heard: float
    is_suspended: bool
    held_back_by: int
    transport: Any

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close it."""
        ...

    def abort(self, reason: Reason) -> None:
        """Close it at once."""
        ...


class ConnectionLimits:
    """All connections. Unauthenticated ones have separate bounds, so that they can't displace others."""

    def __init__(
        self,
        limits: Limits,
        bounds: BoundLog,
        scheduler: WriteScheduler,
        descriptors: Descriptors,
        make_room: Callable[[], bool] = lambda: False,
        refusals: Refusals | None = None,
    ) -> None:
        self._limits = limits
        self._make_room = make_room
        """Closes an unauthenticated connection in favour of another one; False if none should be."""
        self._refusals = refusals or Refusals()
        self._descriptors = descriptors
        self._bounds = bounds
        self._scheduler = scheduler
        self._is_closed = False
        self._connections: set[Counted] = set()
        self._pending: dict[Counted, float] = {}
        self._held: dict[Counted, dict[str, int]] = {}
        self._held_bytes = 0
        """The bytes held for unauthenticated connections, in each of their buffers and in total."""
        self._pending_per_address: dict[str, int] = {}
        self._per_address: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of connections, authenticated or not."""
        return len(self._connections)

    @property
    def is_full(self) -> bool:
        """Whether there are `max_connections`, so that no other one is accepted."""
        return len(self._connections) >= self._limits.max_connections

    @property
    def pending_bytes(self) -> int:
        """The bytes that unauthenticated connections hold, themselves included."""
        return self._held_bytes + PENDING_CONNECTION_BYTES * len(self._pending)

    def close_all(self) -> None:
        """Close every connection, and accept no others."""
        self._is_closed = True
        for connection in list(self._connections):
            connection.close(Reason.SERVER_SHUTTING_DOWN)

    def expire(self, now: float) -> None:
        """Close connections that have been silent for too long, or have not authenticated in time."""
        for connection in self._silent(now - TICK_SECONDS):
            connection.close(Reason.KEEP_ALIVE_TIMEOUT)
        for connection in self._undecided(now):
            self._refusals.early(connection, RefusalReason.CONNECT_TIMEOUT)
            connection.abort(Reason.CONNECT_TIMEOUT)

    def arrived(self, connection: Counted) -> bool:
        """Count a connection; False if a bound is reached, or the broker is stopping."""
        if self._is_closed:
            return False
        if not self._descriptors.admits_transport(connection.transport):
            self._refusals.early(connection, RefusalReason.BOUND_REACHED, "open_files")
            return False
        bucket = address_bucket(connection.address)
        if bound := self._bound_reached(bucket):
            self._bounds.reached_by_stranger(bound, connection.address)
            if bound != "max_pending_connections" or not self._make_room():
                self._refusals.early(connection, RefusalReason.BOUND_REACHED, bound)
                return False
        self._connections.add(connection)
        self._pending[connection] = self._scheduler.time() + self._limits.connect_timeout_seconds
        _count(self._pending_per_address, bucket, 1)
        _count(self._per_address, bucket, 1)
        return True

    def holds(self, connection: Counted, buffer: str, size: int) -> bool:
        """Charge the bytes that a buffer of an unauthenticated connection now holds, replacing its previous charge.

        Returns:
            False if all of them together would exceed the budget; never when a buffer shrinks.
        """
        if connection not in self._pending:
            return True
        buffers = self._held.setdefault(connection, {})
        before = buffers.get(buffer, 0)
        total = self._held_bytes - before + size
        if size > before and total > MAX_PENDING_BYTES:
            self._bounds.reached_by_stranger("pending_bytes", connection.address)
            return False
        buffers[buffer], self._held_bytes = size, total
        return True

    def admitted(self, connection: Counted) -> None:
        """Record that a connection has authenticated."""
        self._held_bytes -= sum(self._held.pop(connection, {}).values())
        if self._pending.pop(connection, None) is not None:
            _count(self._pending_per_address, address_bucket(connection.address), -1)

    def left(self, connection: Counted) -> None:
        """Uncount a connection; safe to call again."""
        self.admitted(connection)
        if connection in self._connections:
            self._connections.discard(connection)
            _count(self._per_address, address_bucket(connection.address), -1)

    def _bound_reached(self, bucket: str) -> str:
        """Return which bound one more connection would exceed; that on pending ones only if no other."""
        limits = self._limits
        if len(self._connections) >= limits.max_connections:
            return "max_connections"
        most = limits.max_pending_per_address
        if most and self._pending_per_address.get(bucket, 0) >= most:
            return "max_pending_per_address"
        most = limits.max_connections_per_address
        if most and self._per_address.get(bucket, 0) >= most:
            return "max_connections_per_address"
        return "max_pending_connections" if len(self._pending) >= limits.max_pending_connections else ""

    def _silent(self, now: float) -> list[Counted]:
        """Return connections silent for longer than 1.5 times their keep-alive (3.1.2-24)."""
        return [
            connection
            for connection in self._connections
            if connection.keep_alive_seconds
            and now - connection.last_heard > connection.keep_alive_seconds
            # A connection that isn't being read isn't known to be silent.
            and not (connection.is_suspended or connection.held_back_by)
        ]

    def _undecided(self, now: float) -> list[Counted]:
        """Return connections that didn't authenticate in time; they are in order of arrival."""
        late = []
        for connection, deadline in self._pending.items():
            if deadline > now:
                break
            late.append(connection)
        return late


def _count(counts: dict[str, int], name: str, by: int) -> None:
    total = counts.get(name, 0) + by
    if total > 0:
        counts[name] = total
    else:
        counts.pop(name, None)
