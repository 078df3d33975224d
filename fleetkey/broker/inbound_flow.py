"""When a connection is read from, and when what it sent is handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.packet_turns import PACKETS_PER_TURN
from fleetkey.broker.transport.outbound import CLOSED, OPEN, OutboundStream

if TYPE_CHECKING:
    from fleetkey.broker.connection_parts import ConnectionParts
    from fleetkey.broker.device_rates import DeviceRate
    from fleetkey.broker.route_cache import Route
    from fleetkey.budget import Account

__all__ = ["InboundFlow"]

STUCK_SECONDS = 5.0
"""How long the beginning of a long packet is kept while there is no room for the rest; then it is closed."""
BY_RATE, BY_BUDGET = 1, 2
"""Why a connection is held back."""


class InboundFlow(OutboundStream):
    """The receiving half of a connection: what waits to be handled, and what it waits for.

    It is read from unless it is suspended, held back, behind with reading, or has input that waits for its turn.
    """

    __slots__ = (
        "_backlog",
        "_backlog_at",
        "_frame_bytes",
        "_is_leaving",
        "_is_reading",
        "_is_resting",
        "_is_working",
        "_last_route",
        "_parts",
        "_rate",
        "_rest",
        "_shared_owner",
        "_stuck_since",
        "_working_bytes",
        "disk",
        "held_back_by",
        "is_suspended",
        "last_heard",
    )

    def __init__(self, parts: ConnectionParts) -> None:
        super().__init__(parts.scheduler, parts.observer, parts.limits.write_buffer_bytes)
        self._parts = parts
        self.disk: Account | None = None
        """Its owner's account for disk space, once its client is authenticated."""
        self.last_heard = parts.scheduler.now
        """When the last complete packet arrived, with the precision of `Scheduler.now`."""
        self.is_suspended = False
        """Whether packet handling is suspended until `proceed`."""
        self.held_back_by = 0
        """Why nothing is handled for a while: `BY_RATE`, `BY_BUDGET` or both; 0 = it is not held back."""
        self._shared_owner = ""
        """Its owner if that may have many connections, which have one part of a turn together: an application key."""
        self._rate: DeviceRate | None = None
        """How fast it may publish; None for no limit."""
        self._rest = bytearray()
        """The beginning of an incomplete packet."""
        self._backlog = b""
        """Received bytes that wait for this connection's next turn, from `_backlog_at` on."""
        self._backlog_at = 0
        self._is_reading = True
        self._is_resting = False
        """Whether nothing is read for a while, as the client sends little at a time."""
        self._is_working = False
        """Whether a packet's job, or the sending of its message, still continues over several turns."""
        self._working_bytes = 0
        """What that packet takes meanwhile."""
        self._stuck_since = 0.0
        """Since when there has been no room for the rest of its packet; 0 = there is."""
        self._frame_bytes = 0
        """Bytes of WebSocket frames that aren't complete yet."""
        self._is_leaving = False
        """Whether DISCONNECT arrived, and answers to earlier packets still wait for the store."""
        self._last_route: Route | None = None
        """The route of the last message, if it was QoS 0 and another one may take the fast path."""

    @property
    def is_busy(self) -> bool:
        """Whether received packets are still to be handled."""
        return self.state is not CLOSED and (bool(self._backlog) or self._is_working)

    def wait(self) -> None:
        """Handle nothing more until `proceed`, which is soon: reading is only paused if something arrives meanwhile."""
        self.is_suspended, self._last_route = True, None

    def suspend(self) -> None:
        """Handle nothing more until `proceed`, and pause reading."""
        self.is_suspended, self._last_route = True, None
        self._update_reading()

    def proceed(self) -> None:
        """Resume handling packets."""
        if self._is_leaving:
            return
        self.is_suspended = False
        self._update_reading()
        self._continue()

    def begin_work(self, size: int = 0) -> None:
        """Handle nothing more until `end_work`: a packet takes several turns, and `size` bytes of memory meanwhile."""
        self._is_working = True
        self._working_bytes = size
        self._charge()
        self.suspend()

    def end_work(self) -> None:
        """Resume handling packets after `begin_work`, unless too much is waiting for the store."""
        if not self._is_working:
            return
        self._is_working = self.is_suspended = False
        self._working_bytes = 0
        self._charge()
        self._wait_if_behind()
        if not self.is_suspended:
            self.proceed()

    def let_go(self) -> None:
        """Handle packets again: the device is within its rate."""
        self._end_hold(BY_RATE)

    def check_room_next(self) -> None:
        """Leave the fast path, so that there is a check after the next packets: its owner is held back."""
        self._last_route = None

    def wait_for_room(self) -> None:
        """Handle nothing more until `resume_for_a_turn`: there is no room for what its owner makes the server keep."""
        if self.state is OPEN and not self.held_back_by & BY_BUDGET:
            self.held_back_by |= BY_BUDGET
            self._last_route = None
            self._update_reading()
            self._parts.held_back.wait(self)

    def resume_for_a_turn(self) -> None:
        """Handle a turn's worth of packets, after the other connections that may."""
        owner = self.memory.owner if self.memory is not None else ""
        self._parts.scheduler.packets.wait(owner, self._resume)

    def _resume(self) -> None:
        memory, now = self.memory, self._scheduler.now
        if memory is not None and not self._backlog and memory.must_not_grow(len(self._rest) + self._frame_bytes):
            # Its client could only complete a long packet. Nothing is read from it, so it may even be gone.
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since < STUCK_SECONDS:
                self._parts.held_back.wait(self)
            else:
                self.give_up_for_room()
            return
        self._stuck_since = 0.0
        self._parts.scheduler.packets.used(PACKETS_PER_TURN)
        self._end_hold(BY_BUDGET)

    def give_up_for_room(self) -> None:
        """Close: there has been no room for the rest of its packet for too long."""
        raise NotImplementedError

    def _end_hold(self, why: int) -> None:
        if self.state is CLOSED:
            return
        self.held_back_by &= ~why
        # Its client may have had to wait for longer than its keep-alive.
        self.last_heard = self._scheduler.now
        self._continue()

    def _hold_back(self, rate: DeviceRate, seconds: float) -> None:
        """Handle nothing more for so many seconds: the device is over its rate."""
        self.held_back_by |= BY_RATE
        self._update_reading()
        self._parts.rates.hold_back(rate, self, seconds)

    def _on_full(self) -> None:
        self._last_route = None
        self._update_reading()

    def _on_room(self) -> None:
        self._update_reading()
        if self.session is not None and self.state is OPEN:
            self._parts.delivery.drain(self.session)
        self._continue()

    def _rest_from_reading(self) -> None:
        """Read nothing for a while: many clients that send byte by byte would cost a read for each."""
        if not self._is_resting:
            self._is_resting = True
            self._update_reading()
            self._parts.scheduler.rests.add(self._rested)

    @property
    def turn_owner(self) -> str:
        """Whose turn its packets wait for."""
        raise NotImplementedError

    def _pay_for_reading(self, packets: int) -> None:
        """Count a large read, and read no more until the connection's turn if this turn of the loop is used up."""
        if not self._parts.scheduler.packets.used(packets) and self.state is OPEN and not self._is_resting:
            self._is_resting = True
            self._update_reading()
            self._parts.scheduler.packets.wait(self.turn_owner, self._read_on)

    def _read_on(self) -> None:
        self._parts.scheduler.packets.used(PACKETS_PER_TURN)
        self._rested()

    def _rested(self) -> None:
        self._is_resting = False
        self._update_reading()

    def _update_reading(self) -> None:
        should_read = not (
            self.is_paused or self.is_suspended or self._backlog or self._is_resting or self.held_back_by
        )
        if self.state is CLOSED or self.is_gone or should_read == self._is_reading:
            return
        self._is_reading = should_read
        if should_read:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _continue(self) -> None:
        if self.state is CLOSED or self.is_suspended or self.is_paused or self.held_back_by:
            return
        if self._backlog:
            data, position = self._backlog, self._backlog_at
            self._backlog = b""
            self._handle_all(data, position)
            self._check_room()
        if self.is_gone and not self.is_busy:
            self.end()
        self._update_reading()

    def _wait_if_behind(self) -> None:
        """Stop handling packets until the next commit if too much is waiting for the store."""
        store = self._parts.store
        if store.is_behind and not self.is_suspended:
            self.suspend()
            store.after_commit(self._store_caught_up)

    def _store_caught_up(self, is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
        del is_stored
        # The job of a packet that had to wait in its first piece resumes packet handling itself.
        if not self._is_working:
            self.proceed()

    def hold_frames(self, size: int) -> None:
        """Charge the bytes of WebSocket frames that wait for the rest of their message."""
        self._frame_bytes = size
        self._check_room()

    def _incoming_bytes(self) -> int:
        return len(self._rest) + len(self._backlog) + self._working_bytes + self._frame_bytes

    def _check_room(self) -> None:
        """After handling input: charge what is left of it, and wait if there is no room or its owner is held back."""
        is_settled = not (self._rest or self._backlog or self._frame_bytes) and self._charged == self._lasting_charge
        memory, disk = self.memory, self.disk
        if memory is None or disk is None or (is_settled and not self._parts.held_back.is_scarce):
            return
        fits = is_settled or self._charge()
        if not fits or memory.used > memory.budget.level or disk.used > disk.budget.level:
            self.wait_for_room()

    def _handle_all(self, data: bytes, position: int = 0) -> None:
        """Handle received bytes, from `position` on."""
        raise NotImplementedError

    def end(self) -> None:
        """Release everything."""
        raise NotImplementedError
