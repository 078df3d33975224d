"""TLS over a plain transport, with bounds on a client's memory and work before and after its handshake.

Over 400 lines, because it is one class between two: the protocol of the socket, and the transport of the one above.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from fleetkey.registry import RefusalReason
from fleetkey.tls.connections import READ_BYTES, TlsConnections
from fleetkey.tls.failures import LEFT, failure_of
from fleetkey.tls.records import NotTlsError, TlsBoundError
from fleetkey.tls.stream import TlsStream
from fleetkey.turns import TRICKLE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TlsTransport"]

READ_AHEAD_BYTES = 64 * 1024
"""How much is read while the protocol has paused reading, if at least half of `MAX_HELD_BYTES` is free."""


@runtime_checkable
class Tracing(Protocol):
    """A protocol that traces why its connection is closed."""

    def note_closed(self, why: RefusalReason, detail: str = "") -> None:
        """Trace that it is about to be closed because of what its client did."""
        ...


class _State(IntEnum):
    HANDSHAKE = 0
    OPEN = 1
    CLOSING = 2
    """Further input is discarded."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a socket, and the transport of the protocol above, which is created after the handshake.

    Args:
        factory: creates the protocol above.
        on_handshake_end: called once, when the handshake has succeeded or failed.
    """

    __slots__ = (
        "_address",
        "_error",
        "_factory",
        "_has_client_ended",
        "_is_lost",
        "_is_paused",
        "_is_reading",
        "_is_resting",
        "_is_waiting",
        "_on_handshake_end",
        "_protocol",
        "_shared",
        "_socket",
        "_state",
        "_stream",
        "_timer",
    )

    def __init__(
        self,
        shared: TlsConnections,
        factory: Callable[[], asyncio.BaseProtocol],
        address: str,
        on_handshake_end: Callable[[], None],
    ) -> None:
        super().__init__()
        self._shared = shared
        self._factory = factory
        self._address = address
        self._on_handshake_end: Callable[[], None] | None = on_handshake_end
        self._state = _State.HANDSHAKE
        self._protocol: asyncio.Protocol | None = None
        self._socket: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before any use
        self._stream = TlsStream(shared.context)
        self._is_paused = False
        """Whether the protocol has paused reading."""
        self._is_reading = True
        self._is_resting = False  # reading is paused for a while, as the client sends little at a time
        self._is_waiting = False
        """Whether a turn is scheduled, to continue with pending input."""
        self._has_client_ended = False
        self._is_lost = False
        self._error: Exception | None = None
        """Why the connection was lost."""
        self._timer: asyncio.TimerHandle | None = None
        shared.shaking_hands.add(self)

    # Called by the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Await the ClientHello."""
        self._socket = transport  # type: ignore[assignment] # a stream's
        if self._state is _State.CLOSING:
            # Its slot was given to another client in the meantime.
            transport.abort()  # type: ignore[attr-defined] # a stream's
            return
        self._timer = asyncio.get_running_loop().call_later(
            self._shared.handshake_seconds, self.refuse, RefusalReason.TLS_TIMEOUT
        )

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the buffer that all connections share."""
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Copy the bytes out of the shared buffer, before another connection reads."""
        if self._state is _State.CLOSING:
            return
        self._stream.incoming += memoryview(self._shared.buffer)[:nbytes]
        if self._state is not _State.OPEN:
            self._shake_hands_soon()
        elif not self._is_waiting and not self._is_paused and self._stream.has_record():
            self._is_waiting = True
            self._shared.decrypt_turns.do(self._go_on)
            if nbytes == READ_BYTES and self._state is _State.OPEN:
                # There is probably more; the others have their turn first.
                self._continue_soon()
        if nbytes < TRICKLE_BYTES and self._stream.incoming and not self._is_waiting and not self._is_paused:
            self._is_resting = True
            self._shared.rests.add(self._rested)
        self._charge(nbytes)
        self._update_reading()

    def _rested(self) -> None:
        self._is_resting = False
        self._update_reading()

    def eof_received(self) -> bool:
        """Notify the protocol once it has all earlier data."""
        self._report_left()
        self._has_client_ended = True
        if not (self._state is _State.OPEN and (self._is_waiting or self._is_paused)):
            self._end()
        return True

    def pause_writing(self) -> None:
        """Pause the protocol above."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Resume the protocol above."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on remaining data, even to a protocol that has paused reading; then notify it."""
        self._report_left()
        self._is_lost, self._error = True, exc
        self._stop_timer()
        if self._state is _State.OPEN and self._stream.has_record():
            self._continue_soon()
        else:
            self._leave()

    # Called by the protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about TLS, or else what the socket reports."""
        if name == "ssl_object":
            return self._stream.ssl_object
        if name == "sslcontext":
            return self._shared.context
        return self._socket.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol above."""
        self._protocol = protocol  # type: ignore[assignment] # a stream's

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the socket's limits."""
        self._socket.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        """Return the size of the socket's buffer."""
        return self._socket.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send data."""
        if self._state is not _State.OPEN or self._is_lost:
            return
        try:
            self._stream.write(data)
        except ssl.SSLError:
            self._shut()
            return
        self._flush()

    def can_write_eof(self) -> bool:
        """Return False: TLS connections aren't half-closed."""
        return False

    def pause_reading(self) -> None:
        """Stop reading and decrypting."""
        self._is_paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Resume, starting with pending input when its turn comes."""
        self._is_paused = False
        if self._state is _State.OPEN and (self._has_client_ended or self._stream.has_record()):
            self._continue_soon()
        self._update_reading()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._state is _State.CLOSING or self._is_lost

    def close(self) -> None:
        """Send pending data and close_notify; the client has `shutdown_seconds` to close its side."""
        if self._state is _State.OPEN and not self._is_lost:
            self._stream.end()
        self._shut()

    def abort(self) -> None:
        """Close at once."""
        self._drop()
        if self._is_lost:
            asyncio.get_running_loop().call_soon(self._leave)
        elif self._socket is not None:
            self._socket.abort()

    # Called by what the connections share

    @property
    def is_record_due(self) -> bool:
        """Whether it waits for the rest of a record."""
        return not self._is_paused and not self._stream.has_record()

    def cut(self, bound: str) -> None:
        """Report a bound that it reached, and close at once."""
        self._shared.reached(bound, self._address)
        self.refuse(RefusalReason.BOUND_REACHED, bound)

    def refuse(self, why: RefusalReason, detail: str = "") -> None:
        """Report why the handshake isn't done, and close at once."""
        self._report(why, detail)
        self.abort()

    # The handshake

    def _shake_hands_soon(self) -> None:
        """Schedule a handshake step once enough input has arrived for one."""
        if self._is_waiting:
            return
        try:
            is_due = self._stream.can_shake_hands()
        except NotTlsError as error:
            self._fail(error)
            return
        if is_due:
            self._is_waiting = True
            self._shared.handshake_turns.do(self._shake_hands)

    def _shake_hands(self) -> None:
        """Take a handshake step."""
        self._is_waiting = False
        if self._state is _State.CLOSING:
            return
        try:
            is_done = self._stream.shake_hands()
        except (NotTlsError, ssl.SSLError) as error:
            self._fail(error)
            return
        self._flush()
        if is_done:
            self._open()
        else:
            self._shake_hands_soon()
            self._charge()
            self._update_reading()

    def _open(self) -> None:
        """Create the protocol, and pass on data that arrived with the end of the handshake."""
        self._state = _State.OPEN
        self._stop_timer()
        self._handshake_ended()
        protocol = self._factory()
        self.set_protocol(protocol)
        protocol.connection_made(self)
        self._go_on()

    # Input

    def _go_on(self) -> None:
        """Continue with pending input."""
        self._is_waiting = False
        if self._state is not _State.OPEN:
            return
        if self._is_lost or not self._is_paused:
            self._decrypt()
        if not self._is_waiting:
            if self._is_lost:
                self._leave()
            elif self._has_client_ended and not self._is_paused:
                self._end()
        self._charge()
        self._update_reading()

    def _decrypt(self) -> None:
        """Pass on a turn's worth of data, and schedule another turn if there is more."""
        parts: list[bytes] = []
        is_over, failure = False, None
        try:
            is_over = self._stream.read(parts)
        except (NotTlsError, ssl.SSLError) as error:
            failure = error
        # The answer to a key change, or an alert.
        self._flush()
        if parts and self._protocol is not None:
            self._protocol.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._state is not _State.OPEN:
            return
        if failure is not None:
            self._fail(failure)
        elif is_over:
            self._stream.incoming.clear()
            self._has_client_ended = True
            if not self._is_lost and not self._is_paused:
                self._end()
        elif self._stream.incoming and (self._is_lost or not self._is_paused) and self._stream.has_record():
            self._continue_soon()

    def _continue_soon(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._shared.decrypt_turns.do_later(self._go_on)

    def _charge(self, received: int = 0) -> None:
        """Charge what is held, `received` bytes after the last time; at the bound, connections are closed."""
        self._shared.charge(self, len(self._stream.incoming), received)

    def _may_read_ahead(self) -> bool:
        """Whether to read without decrypting: unread data in the kernel is lost if the client resets."""
        has_room = len(self._stream.incoming) < READ_AHEAD_BYTES and self._shared.can_read_ahead
        return self._state is _State.OPEN and has_room

    def _update_reading(self) -> None:
        is_free = not (self._is_paused or self._is_waiting) or self._may_read_ahead()
        should_read = self._state is _State.CLOSING or (is_free and not self._is_resting)
        if should_read == self._is_reading or self._is_lost or self._socket.is_closing():
            return
        self._is_reading = should_read
        if should_read:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    # The end

    def _end(self) -> None:
        """Close because the client has closed its side, after the protocol has written its last answers."""
        if self._state is _State.OPEN and self._protocol is not None:
            self._protocol.eof_received()
        self.close()

    def _shut(self) -> None:
        """Send the SSL object's remaining output, and close; input is discarded until the client closes its side.

        Closing while the client still sends would reset the connection, which discards what it hasn't received yet.
        """
        if is_first := self._state is not _State.CLOSING:
            self._flush()
            self._drop()
        if self._is_lost:
            asyncio.get_running_loop().call_soon(self._leave)
            return
        if is_first:
            self._timer = asyncio.get_running_loop().call_later(self._shared.shutdown_seconds, self._socket.abort)
        if self._has_client_ended:
            self._socket.close()
        elif is_first:
            self._socket.write_eof()
            self._update_reading()

    def _leave(self) -> None:
        """Notify the protocol that the connection is lost; safe to call again."""
        self._drop()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(self._error)

    def _drop(self) -> None:
        """Discard held and further input."""
        self._state = _State.CLOSING
        self._stream.incoming.clear()
        self._charge()
        self._stop_timer()
        self._handshake_ended()

    def _fail(self, error: NotTlsError | ssl.SSLError) -> None:
        """Close after sending the TLS alert."""
        if isinstance(error, TlsBoundError):
            self._shared.reached(error.bound, self._address)
        if self._state is _State.HANDSHAKE or isinstance(error, TlsBoundError):
            self._report(*failure_of(error, self._stream))
        self._shut()

    def _report_left(self) -> None:
        """Report a client that leaves during its handshake, after it has seen the server's certificate."""
        if self._state is _State.HANDSHAKE and self._stream.ssl_object is not None:
            error = self._stream.last_failure()
            self._report(*(failure_of(error, self._stream) if error is not None else (RefusalReason.TLS_FAILED, LEFT)))

    def _report(self, why: RefusalReason, detail: str = "") -> None:
        """Report why the handshake isn't done, once; or have the protocol above report why it is closed."""
        if self._on_handshake_end is not None:
            self._handshake_ended()
            self._shared.refused(why, self._address, detail)
        elif isinstance(self._protocol, Tracing):
            self._protocol.note_closed(why, detail)

    def _flush(self) -> None:
        data = self._stream.take_sent()
        if data and not self._is_lost and not self._socket.is_closing():
            self._socket.write(data)

    def _handshake_ended(self) -> None:
        self._shared.shaking_hands.discard(self)
        if self._on_handshake_end is not None:
            self._on_handshake_end()
            self._on_handshake_end = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
