"""A connection's outbound bytes: batched per turn of the event loop, and held, within a bound, for a slow client."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from fleetkey.broker.codec import MQTT_3_1_1, Codec
from fleetkey.broker.memory_costs import CONNECTIONS, connection_bytes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fleetkey.broker.ports import BrokerObserver, WriteScheduler
    from fleetkey.broker.session import Session
    from fleetkey.budget import Account

__all__ = ["CLOSED", "DECIDING", "NEW", "OPEN", "OutboundStream", "State"]

MAX_GATHERED = 64
"""Packets batched before they are handed to the transport within a turn."""
MAX_GATHERED_BYTES = 4 * 1024
"""A longer packet is handed over at once."""
CHARGED_STEP = 4 * 1024
"""What a connection holds is charged in multiples of this."""
DRAIN_BYTES = 64 * 1024
"""How much of the held bytes a transport is given at a time."""


class State(IntEnum):
    """A connection's state."""

    NEW = 0
    DECIDING = 1
    OPEN = 2
    CLOSED = 3


NEW, DECIDING, OPEN, CLOSED = State
"""The same by themselves: looking up an enum's member takes longer than comparing with it."""


class OutboundStream:
    """The sending half of a connection.

    A transport is written to only once it has sent everything before. What the client hasn't read is held here, in one
    buffer however small the packets are, up to `write_buffer_bytes`.
    """

    __slots__ = (
        "_charged",
        "_gathered",
        "_hears_out",
        "_held",
        "_idle_bytes",
        "_in_transport",
        "_is_draining",
        "_lasting_bytes",
        "_lasting_charge",
        "_observer",
        "_scheduler",
        "_write_buffer_bytes",
        "codec",
        "is_gone",
        "is_paused",
        "memory",
        "session",
        "state",
        "transport",
    )

    def __init__(self, scheduler: WriteScheduler, observer: BrokerObserver, write_buffer_bytes: int) -> None:
        self._scheduler = scheduler
        self._observer = observer
        self._write_buffer_bytes = write_buffer_bytes
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before any use
        self.codec: Codec = MQTT_3_1_1
        """The codec of the protocol version, which CONNECT determines."""
        self.state = NEW
        self.session: Session | None = None
        self.is_paused = False
        """Whether more than `write_buffer_bytes` is held, so that nothing is received or delivered."""
        self._hears_out = observer.hears_packets_out
        self._gathered: list[bytes] = []
        self._held = bytearray()
        self._in_transport = 0
        """Bytes that the transport couldn't send at once."""
        self.memory: Account | None = None
        """Its owner's account, once its client is authenticated."""
        self._idle_bytes = self._charged = 0
        """Bytes charged to it: of the connection itself, and in all."""
        self._lasting_bytes = 0
        """What is kept until it ends: remembered topics, and the will."""
        self._lasting_charge = 0
        """Bytes charged to it if nothing else is held."""
        self._is_draining = False
        """Whether the transport still has bytes to send."""
        self.is_gone = False
        """Whether the client is gone; what it sent before is still handled."""

    def _use(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        # Whatever can't be sent at once is held by this class instead.
        transport.set_write_buffer_limits(high=1, low=0)

    def send(self, data: bytes) -> None:
        """Send one packet, batched with the others of this turn of the event loop."""
        if self._is_draining:
            self._hold(data)
        elif self.state is not CLOSED:
            gathered = self._gathered
            if not gathered:
                self._scheduler.flush_soon(self)
            gathered.append(data)
            if len(data) > MAX_GATHERED_BYTES or len(gathered) >= MAX_GATHERED:
                self.flush()
        if self._hears_out:
            self._observer.packet_sent(data, self.session, self.codec.version)

    def has_room(self, size: int) -> bool:
        """Whether its owner has room for so many bytes that its client doesn't read at once."""
        return self.memory is None or self.memory.has_room(size)

    def flush(self) -> None:
        """Hand the batched packets to the transport."""
        gathered = self._gathered
        if self.is_gone:
            gathered.clear()
        elif gathered:
            self.transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))
            gathered.clear()

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call `callback` after the other connections have had their turn."""
        self._scheduler.call_next_turn(callback, *arguments)

    def pause_writing(self) -> None:
        """Hold further packets: the transport couldn't send everything at once."""
        self._is_draining = True
        self._in_transport = self.transport.get_write_buffer_size()
        if not self._charge() and not self.is_paused and self.state is OPEN:
            self.is_paused = True
            self._on_full()

    def resume_writing(self) -> None:
        """Send held bytes in the next turn: the transport has sent everything."""
        self.call_next_turn(self._drain)

    def _drain(self) -> None:
        """Write the next part of what is held; the others have their turn before the one behind it."""
        if self.state is CLOSED or self.is_gone:
            return
        self._is_draining, self._in_transport = False, 0
        if self._held:
            # Calls `pause_writing` if the transport can't send it at once.
            self._write_held()
            if self._held and not self._is_draining:
                # What is sent meanwhile has to wait behind it.
                self._is_draining = True
                self.call_next_turn(self._drain)
        self._charge()
        # Nothing is held before the CONNACK, so it is paused for another reason then.
        if self.is_paused and self.state is OPEN and len(self._held) <= self._write_buffer_bytes // 2:
            self.is_paused = False
            self._on_room()

    def _write_held(self) -> None:
        """Hand the next `DRAIN_BYTES` of the held bytes to the transport."""
        held = memoryview(self._held)
        part = bytes(held[:DRAIN_BYTES])
        held.release()
        del self._held[:DRAIN_BYTES]
        self.transport.write(part)

    def _hold(self, data: bytes) -> None:
        if self.state is CLOSED:
            return
        self._held += data
        fits = self._charge()
        if not self.is_paused and (len(self._held) > self._write_buffer_bytes or not fits):
            self.is_paused = True
            self._on_full()

    def _charge_to(self, memory: Account | None) -> None:
        """Charge the connection to its owner's account, or release it; safe to call again."""
        if self.memory is not None:
            self.memory.release(CONNECTIONS, self._charged)
        self.memory, self._charged = memory, 0
        if memory is not None:
            self._idle_bytes = self._charged = self._lasting_charge = connection_bytes(self.transport)
            memory.charge_anyway(CONNECTIONS, self._charged)

    def _incoming_bytes(self) -> int:
        """Return how many bytes of input are held."""
        return 0

    def _charge(self) -> bool:
        """Charge what the connection holds now; False if there is no room for it.

        It is charged in any case: it was accepted before.
        """
        memory = self.memory
        if memory is None:
            return True
        lasting = self._lasting_bytes
        size = len(self._held) + self._in_transport + self._incoming_bytes() + lasting
        size = self._idle_bytes + -(-size // CHARGED_STEP) * CHARGED_STEP
        self._lasting_charge = self._idle_bytes + -(-lasting // CHARGED_STEP) * CHARGED_STEP
        more, fits = size - self._charged, True
        if more > 0:
            fits = memory.charge_input(CONNECTIONS, more)
        elif more < 0:
            memory.release(CONNECTIONS, -more)
        self._charged = size
        return fits

    def _on_full(self) -> None:
        """Stop receiving."""

    def _on_room(self) -> None:
        """Resume receiving."""

    def _go(self) -> None:
        """Discard everything sent from here on: the client is gone."""
        self._forget()
        self.is_gone, self.is_paused, self._is_draining = True, False, False

    def hand_over(self) -> int:
        """Hand all pending bytes to the transport, which is about to be closed and sends them first.

        Returns:
            how many bytes that is, including those that the transport hasn't sent yet.
        """
        if self.is_gone:
            self._forget()
            return 0
        size = sum(map(len, self._gathered)) + len(self._held) + self.transport.get_write_buffer_size()
        self.flush()
        while self._held:
            self._write_held()
        return size

    def _forget(self) -> None:
        """Discard pending bytes."""
        self._gathered.clear()
        self._held.clear()
