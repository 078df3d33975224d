"""Devices that may only publish so fast: those over their rate are read from more slowly."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import structlog

from fleetkey.broker.message_rate import MessageRate
from fleetkey.broker.timed_queue import TimedQueue

if TYPE_CHECKING:
    import asyncio

    from fleetkey.access import Principal
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits

__all__ = ["DeviceRate", "DeviceRates"]

log = structlog.get_logger(__name__)

MIN_HELD_SECONDS = 0.1
"""The shortest time for which a device isn't read from, so that a flood is handled in few pieces; what it may
publish in that time comes at once afterwards."""
MAX_AWAY = 10_000
"""Disconnected devices whose use is remembered, until all of it is replenished; beyond that, the one that disconnected
first is forgotten, as if it hadn't published anything."""
LASTING_SECONDS = 10.0
"""A device that is over its rate for so long is logged, and again when it hasn't been over it for as long."""
MAX_LOGGED = 100
"""Devices logged as being over their rate at once; any others are only counted."""


class HeldBack(Protocol):
    """The parts of a connection that are used here."""

    def let_go(self) -> None:
        """Read from the client again."""
        ...


class DeviceRate(MessageRate):
    """What a device used of its rate, whichever connection it used it on. Compared by identity."""

    __slots__ = ("bound", "connection", "device_id", "held_at", "held_seconds", "over_since", "over_until")

    def __init__(self, device_id: str, messages_per_second: int, bytes_per_second: int) -> None:
        super().__init__(messages_per_second, bytes_per_second)
        self.device_id = device_id
        self.connection: HeldBack | None = None
        """Its connection, while that is held back."""
        self.bound = ""
        """The setting that it is or was held back by."""
        self.held_at = 0.0
        self.held_seconds = 0.0
        """How long it has been held back since `over_since`."""
        self.over_since = self.over_until = float("-inf")
        """From when to when it was last over its rate, with interruptions of less than `LASTING_SECONDS`."""


class DeviceRates:
    """The rates of connected devices, and of disconnected ones that used theirs recently."""

    def __init__(self, limits: Limits, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._counters = counters
        self._loop = loop
        self._away: OrderedDict[str, DeviceRate] = OrderedDict()
        self._held = TimedQueue(self._let_go, loop)
        self._logged: dict[DeviceRate, None] = {}

    def of(self, principal: Principal) -> DeviceRate | None:
        """Return a device's rate, for its new connection; None if it has no limit, as applications never have."""
        if principal.device_id is None:
            return None
        policy, limits = principal.policy, self._limits
        messages, size = policy.max_messages_per_second, policy.max_bytes_per_second
        messages = limits.max_messages_per_second if messages is None else messages
        size = limits.max_bytes_per_second if size is None else size
        if not (messages or size):
            return None
        return self._away.pop(principal.device_id, None) or DeviceRate(principal.device_id, messages, size)

    def hold_back(self, rate: DeviceRate, connection: HeldBack, seconds: float) -> None:
        """Let a device's connection go in so many seconds, or a little later."""
        now, seconds = self._loop.time(), max(seconds, MIN_HELD_SECONDS)
        rate.connection, rate.held_at, rate.bound = connection, now, rate.tighter_bound
        self._counters.bounds[rate.bound] += 1
        self._held.add(rate, now + seconds)
        if now - rate.over_until >= LASTING_SECONDS:
            rate.over_since, rate.held_seconds = now, 0.0
        rate.over_until = now + seconds
        if (
            rate.over_until - rate.over_since >= LASTING_SECONDS
            and rate not in self._logged
            and len(self._logged) < MAX_LOGGED
        ):
            self._logged[rate] = None
            log.warning(
                "device_over_rate",
                device_id=rate.device_id,
                bound=rate.bound,
                over_seconds=round(now - rate.over_since, 3),
                held_for_seconds=round(seconds, 3),
            )

    def leave(self, rate: DeviceRate) -> None:
        """Remember a device whose connection ended, as long as it has used anything that isn't replenished."""
        self._held.discard(rate)
        self._release(rate)
        now = self._loop.time()
        while self._away and next(iter(self._away.values())).is_full(now):
            self._away.popitem(last=False)
        if rate.is_full(now):
            return
        if len(self._away) >= MAX_AWAY:
            self._away.popitem(last=False)
        self._away[rate.device_id] = rate

    def expire(self, now: float) -> None:
        """Log which devices haven't been over their rate for a while, and forget those that replenished it."""
        for rate in [rate for rate in self._logged if now - rate.over_until >= LASTING_SECONDS]:
            del self._logged[rate]
            log.info(
                "device_within_rate",
                device_id=rate.device_id,
                over_seconds=round(rate.over_until - rate.over_since, 3),
                held_seconds=round(rate.held_seconds, 3),
            )
        while self._away and next(iter(self._away.values())).is_full(now):
            self._away.popitem(last=False)

    def _let_go(self, rate: DeviceRate) -> None:
        connection = rate.connection
        self._release(rate)
        if connection is not None:
            connection.let_go()

    def _release(self, rate: DeviceRate) -> None:
        """Count how long a device was held back, if it is."""
        if rate.connection is not None:
            now = self._loop.time()
            rate.connection, rate.over_until = None, now
            seconds = now - rate.held_at
            rate.held_seconds += seconds
            self._counters.held_back_seconds[rate.bound] += seconds
