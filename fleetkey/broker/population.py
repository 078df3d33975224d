"""How many connections there are, from where, and which of them have been silent for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.access import address_bucket

if TYPE_CHECKING:
    from fleetkey.broker.connection import Connection
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits
    from fleetkey.operations import Descriptors

__all__ = ["Population"]

log = structlog.get_logger(__name__)


class Population:
    """All connections; those that have not proven who they are have bounds of their own, so they keep nobody out."""

    def __init__(self, limits: Limits, counters: Counters, descriptors: Descriptors) -> None:
        self._limits = limits
        self._descriptors = descriptors
        self._counters = counters
        self.connections: set[Connection] = set()
        self._pending: dict[Connection, float] = {}
        self._pending_per_address: dict[str, int] = {}
        self._per_address: dict[str, int] = {}
        self._reached: set[str] = set()

    def arrived(self, connection: Connection) -> bool:
        """Count a connection; False if a bound is reached."""
        if not self._descriptors.admits_transport(connection.transport):
            return False
        limits, bucket = self._limits, address_bucket(connection.address)
        for bound, count, most in (
            ("max_connections", len(self.connections), limits.max_connections),
            ("max_pending_connections", len(self._pending), limits.max_pending_connections),
            ("max_pending_per_address", self._pending_per_address.get(bucket, 0), limits.max_pending_per_address),
            ("max_connections_per_address", self._per_address.get(bucket, 0), limits.max_connections_per_address),
        ):
            if most and count >= most:
                self._counters.bounds[bound] += 1
                if bound not in self._reached:
                    self._reached.add(bound)
                    log.warning("bound_reached", bound=bound, address=connection.address)
                return False
        self.connections.add(connection)
        self._pending[connection] = connection.hub.loop.time() + limits.connect_timeout_seconds
        _count(self._pending_per_address, bucket, 1)
        _count(self._per_address, bucket, 1)
        return True

    def admitted(self, connection: Connection) -> None:
        """Take note that a connection has proven who it is."""
        if self._pending.pop(connection, None) is not None:
            _count(self._pending_per_address, address_bucket(connection.address), -1)

    def left(self, connection: Connection) -> None:
        """Uncount a connection; safe to call again."""
        self.admitted(connection)
        if connection in self.connections:
            self.connections.discard(connection)
            _count(self._per_address, address_bucket(connection.address), -1)
            self._reached.clear()

    def silent(self, now: float) -> list[Connection]:
        """Return connections that broke their keep-alive (3.1.2-24: one and a half times)."""
        return [
            connection
            for connection in self.connections
            if connection.keep_alive_seconds
            and now - connection.last_heard > connection.keep_alive_seconds
            # What isn't read can't be heard.
            and not connection.is_suspended
        ]

    def undecided(self, now: float) -> list[Connection]:
        """Return connections that have not proven in time who they are; they are in order of arrival."""
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
