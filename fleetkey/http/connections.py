"""The HTTP connections of one listener: how many, from where, and which bounds they reached."""

from __future__ import annotations

import time
from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import address_bucket
from fleetkey.http.forwarded import TrustedProxies
from fleetkey.http.local import is_loopback
from fleetkey.http.request_turns import MAX_ENDED_PER_TURN
from fleetkey.http.unsent import UnsentBytes
from fleetkey.operations import Descriptors
from fleetkey.registry import RefusalReason
from fleetkey.turns import RestQueue, TurnQueue

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fleetkey.config import HttpSettings

__all__ = [
    "MAX_HELD_BYTES",
    "MAX_REFUSED_CONNECTIONS",
    "MAX_RESERVED_CONNECTIONS",
    "QUIET_SECONDS",
    "HttpConnections",
    "Place",
]

log = structlog.get_logger(__name__)

MAX_RESERVED_CONNECTIONS = 8
"""Connections from loopback that are accepted above a bound on connections, for health and metrics only."""
MAX_REFUSED_CONNECTIONS = 100
"""Connections being refused with an answer; further ones are closed without one."""
MAX_HELD_BYTES = 32 * 1024 * 1024
"""Unparsed bytes that all connections together hold; one that would exceed it is closed after its last answer."""
MAX_PARSED_PER_TURN = 8
"""Connections whose input is parsed per turn of the event loop; the others wait for theirs."""
MAX_HEALTH_PARSED_PER_TURN = 4
"""The same for those that ask for `/health…`. They don't wait for the others, because monitoring needs them."""
HEALTH = b"GET /health", b"HEAD /health"
"""How such a request begins."""
QUIET_SECONDS = 60.0
"""Minimum interval between log lines about the same bound, whichever client reaches it."""


class Place(Enum):
    """How a connection is treated."""

    ORDINARY = auto()
    RESERVED = auto()
    """Accepted for health and metrics only."""
    REFUSED = auto()
    """Refused with an answer."""
    NONE = auto()
    """Closed without an answer."""


class HttpConnections:
    """The state that the connections of a listener share.

    Args:
        settings: their bounds, and the proxies that are exempt from the bound of an address.
        descriptors: reserves some of the process's file descriptors for purposes other than clients.
        now: a monotonic clock, in seconds.
        refused: called with why a client is refused before it sent a request, its address, and a detail.
    """

    def __init__(
        self,
        settings: HttpSettings,
        descriptors: Descriptors | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        refused: Callable[[RefusalReason, str, str], None] = lambda *_: None,
    ) -> None:
        self.refused = refused
        self._descriptors = descriptors or Descriptors()
        self._max_connections = settings.max_connections
        self._max_per_address = settings.max_connections_per_address
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._now = now
        self._parses = TurnQueue(MAX_PARSED_PER_TURN)
        self._health_parses = TurnQueue(MAX_HEALTH_PARSED_PER_TURN)
        self.endings = TurnQueue(MAX_ENDED_PER_TURN)
        """Ends requests whose clients are gone, a few per turn."""
        self.rests = RestQueue()
        """Resumes reading from clients that sent only a part of a request's headers."""
        self._places: Counter[Place] = Counter()
        self._per_address: Counter[str] = Counter()
        self._held_bytes = 0
        self.unsent = UnsentBytes()
        """Unread answers."""
        self._logged: dict[str, float] = {}
        self.bounds: Counter[str] = Counter()
        """How often a bound was reached, by its name; the labels of a metric."""

    @property
    def held_bytes(self) -> int:
        """Bytes held for waiting requests."""
        return self._held_bytes

    def parses(self, data: bytes) -> TurnQueue:
        """Return what schedules the parsing of input, so that many requests at once don't make one long turn."""
        return self._health_parses if data.startswith(HEALTH) else self._parses

    def has_descriptor(self, transport: asyncio.Transport) -> bool:
        """Whether a connection didn't use a reserved file descriptor; one that did must be closed."""
        return self._descriptors.admits_transport(transport)

    def arrived(self, address: str) -> Place:
        """Count a connection, and return how to treat it; call `left` when it ends, unless that is `NONE`."""
        bucket = self.bucket(address)
        bound = self._bound_reached(bucket)
        place = Place.ORDINARY
        if bound is not None:
            self.reached(bound, address)
            self.refused(RefusalReason.BOUND_REACHED, address, bound)
            if is_loopback(address) and self._places[Place.RESERVED] < MAX_RESERVED_CONNECTIONS:
                place = Place.RESERVED
            elif self._places[Place.REFUSED] < MAX_REFUSED_CONNECTIONS:
                place = Place.REFUSED
            else:
                return Place.NONE
        self._places[place] += 1
        if place is Place.ORDINARY and bucket is not None:
            self._per_address[bucket] += 1
        return place

    def left(self, address: str, place: Place) -> None:
        """Stop counting a connection."""
        self._places[place] -= 1
        bucket = self.bucket(address)
        if place is Place.ORDINARY and bucket is not None:
            self._per_address[bucket] -= 1
            if not self._per_address[bucket]:
                del self._per_address[bucket]

    def hold(self, count: int) -> bool:
        """Charge bytes that a connection is about to hold; False if they would exceed `MAX_HELD_BYTES`."""
        if self._held_bytes + count > MAX_HELD_BYTES:
            return False
        self._held_bytes += count
        return True

    def release(self, count: int) -> None:
        """Release charged bytes."""
        self._held_bytes -= count

    def reached(self, bound: str, address: str) -> None:
        """Count that an address reached a bound, and log it at most every `QUIET_SECONDS`."""
        self.bounds[bound] += 1
        now = self._now()
        if bound in self._logged and now - self._logged[bound] < QUIET_SECONDS:
            return
        self._logged[bound] = now
        log.warning("bound_reached", bound=f"http.{bound}", address=address)

    def bucket(self, address: str) -> str | None:
        """Return what an address is counted by; None for a trusted proxy, which many clients share."""
        return None if self._proxies.trust(address) else address_bucket(address)

    def _bound_reached(self, bucket: str | None) -> str | None:
        if self._places[Place.ORDINARY] >= self._max_connections:
            return "max_connections"
        if bucket is not None and self._max_per_address and self._per_address[bucket] >= self._max_per_address:
            return "max_connections_per_address"
        return None
