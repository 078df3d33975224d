"""TLS over a plain transport, bounded: what a client costs before and after its handshake, in bytes and in work."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from fleetkey.tls.records import (
    MAX_RECORD_BYTES,
    HelloTooLongError,
    NotTlsError,
    hello_end,
    is_hello_retry,
    record_end,
    records_end,
)
from fleetkey.turns import TurnQueue

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TlsConnections", "TlsTransport"]

READ_BYTES = 32 * 1024
"""Bytes that are read from a socket at a time, into one buffer for all connections."""
MAX_HANDSHAKE_BYTES = 32 * 1024
"""What a client may send before its handshake is done; no certificate is asked of it."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Of all connections of a listener together, bytes that came and can't be decrypted yet."""
READ_AHEAD_BYTES = 64 * 1024
"""What is read of a connection whose protocol takes nothing now, as long as half of `MAX_HELD_BYTES` is free."""
MAX_EMPTY_RECORDS = 32
"""Records without data, such as changes of the key, that a client may send in `EMPTY_SECONDS`."""
EMPTY_SECONDS = 60.0
RECORDS_AT_ONCE = 64
"""Records of one connection that are decrypted before the others have a turn."""
BYTES_AT_ONCE = 64 * 1024
"""Bytes of one connection that are decrypted before the others have a turn."""
CONTINUED_PER_TURN = 4
"""Connections that go on with what waits, in one turn of the event loop."""
HANDSHAKES_PER_TURN = 2
"""Steps of handshakes in one turn of the event loop; a signature takes up to a millisecond."""
RECORDS_PER_STEP = 8
"""Records that one step of a handshake takes."""


class _State(IntEnum):
    HELLO = 0
    """A whole ClientHello is awaited."""
    HANDSHAKE = 1
    OPEN = 2
    CLOSING = 3
    """Whatever comes is dropped."""


class TlsConnections:
    """What the connections of one listener share.

    Args:
        reached: is told which bound an address reached.
        handshake_seconds: for a handshake; then the connection is closed.
        shutdown_seconds: for the client's end, after a connection is closed.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        reached: Callable[[str, str], None],
        *,
        handshake_seconds: float,
        shutdown_seconds: float,
    ) -> None:
        self.context = context
        self.reached = reached
        self.handshake_seconds = handshake_seconds
        self.shutdown_seconds = shutdown_seconds
        self.buffer = bytearray(READ_BYTES)
        """What was read last, of any connection: it is taken out before the next one reads."""
        self.handshakes = TurnQueue(HANDSHAKES_PER_TURN)
        self.continued = TurnQueue(CONTINUED_PER_TURN)
        self.held_bytes = 0
        self.shaking_hands: set[TlsTransport] = set()
        """Those whose handshake isn't done."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of a socket, and the transport of the protocol above it, which hears of it after the handshake.

    The SSL object gets whole records, and so many at a time: the library handles those that hold no data, as changes
    of the key do, in one go until it comes to one that does.

    Args:
        factory: makes the protocol above.
        on_handshake_end: is called once, when the handshake has succeeded or can't any more.
    """

    __slots__ = (
        "_address",
        "_charged",
        "_empty_records",
        "_empty_since",
        "_error",
        "_factory",
        "_has_client_ended",
        "_incoming",
        "_is_lost",
        "_is_paused",
        "_is_reading",
        "_is_waiting",
        "_on_handshake_end",
        "_protocol",
        "_received",
        "_sent",
        "_shared",
        "_size",
        "_socket",
        "_state",
        "_timer",
        "_tls",
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
        self._state = _State.HELLO
        self._protocol: asyncio.Protocol | None = None
        self._socket: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before any use
        self._received: ssl.MemoryBIO = None  # type: ignore[assignment] # these three are made with the first ClientHello
        self._sent: ssl.MemoryBIO = None  # type: ignore[assignment]
        self._tls: ssl.SSLObject = None  # type: ignore[assignment]
        self._incoming = bytearray()
        """What came and was not handed to the SSL object yet."""
        self._charged = 0
        """Bytes of it that are counted with those of the others."""
        self._size = 0
        """Bytes of the handshake that came."""
        self._empty_records = 0
        self._empty_since = 0.0
        self._is_paused = False
        """Whether the protocol takes nothing."""
        self._is_reading = True
        self._is_waiting = False
        """Whether its turn is asked for, to go on with what came."""
        self._has_client_ended = False
        self._is_lost = False
        self._error: Exception | None = None
        """Why it was lost."""
        self._timer: asyncio.TimerHandle | None = None
        shared.shaking_hands.add(self)

    # What the socket calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Await the ClientHello."""
        self._socket = transport  # type: ignore[assignment] # a stream's
        if self._state is _State.CLOSING:
            # Its place went to another one meanwhile.
            transport.abort()  # type: ignore[attr-defined] # a stream's
            return
        self._timer = asyncio.get_running_loop().call_later(self._shared.handshake_seconds, self.abort)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Lend the buffer that all connections share."""
        del sizehint
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read out of the buffer, before another connection reads."""
        if self._state is _State.CLOSING:
            return
        self._incoming += memoryview(self._shared.buffer)[:nbytes]
        if self._state is not _State.OPEN:
            self._shake_hands_soon()
        elif not self._is_waiting and not self._is_paused:
            self._decrypt()
            if nbytes == READ_BYTES and self._state is _State.OPEN:
                # There is more; the others have their turn first.
                self._continue_soon()
        self._charge()
        self._update_reading()

    def eof_received(self) -> bool:
        """Tell the protocol once it has what came before."""
        self._has_client_ended = True
        if not (self._state is _State.OPEN and (self._is_waiting or self._is_paused)):
            self._end()
        return True

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on what came before, also to a protocol that reads nothing now; then tell it."""
        self._is_lost, self._error = True, exc
        self._stop_timer()
        if self._state is _State.OPEN and self._has_record():
            self._continue_soon()
        else:
            self._leave()

    # What the protocol calls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Answer what is about TLS, and ask the socket for the rest."""
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._shared.context
        return self._socket.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return self._protocol  # type: ignore[return-value] # the one above has it from connection_made on

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Put another protocol above."""
        self._protocol = protocol  # type: ignore[assignment] # a stream's

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the socket's."""
        self._socket.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        """Return what the socket has to send."""
        return self._socket.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._state is not _State.OPEN or self._is_lost:
            return
        rest = memoryview(data)
        try:
            while rest:
                # A record of it at a time.
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:
            self._shut()
            return
        self._flush()

    def can_write_eof(self) -> bool:
        """Tell that one side of TLS isn't closed alone."""
        return False

    def pause_reading(self) -> None:
        """Read, and decrypt, nothing more."""
        self._is_paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        """Go on, first with what came before, in its turn."""
        self._is_paused = False
        if self._state is _State.OPEN and (self._has_client_ended or self._has_record()):
            self._continue_soon()
        self._update_reading()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._state is _State.CLOSING or self._is_lost

    def close(self) -> None:
        """Send what is written and the end of TLS; the client has `shutdown_seconds` for its own end."""
        if self._state is _State.OPEN and not self._is_lost:
            with suppress(ssl.SSLError):
                # It would like to read the client's end, which is not waited for in this way.
                self._tls.unwrap()
        self._shut()

    def abort(self) -> None:
        """Close at once."""
        self._drop()
        if self._is_lost:
            self._leave_soon()
        elif self._socket is not None:
            self._socket.abort()

    # The handshake

    def _shake_hands_soon(self) -> None:
        """Ask for a step of the handshake, once there is something to take it with."""
        if self._is_waiting:
            return
        try:
            is_due = self._next_end() > 0
        except NotTlsError as error:
            if isinstance(error, HelloTooLongError):
                self._shared.reached("tls_hello_bytes", self._address)
            self._shut()
            return
        if is_due:
            self._is_waiting = True
            self._shared.handshakes.do(self._shake_hands)

    def _next_end(self) -> int:
        """Return where what the SSL object gets next ends; 0 if it hasn't come yet."""
        if self._state is _State.HELLO:
            return hello_end(self._incoming)
        return record_end(self._incoming, 0, len(self._incoming))

    def _shake_hands(self) -> None:
        """Take a step."""
        self._is_waiting = False
        if self._state is _State.CLOSING:
            return
        if self._tls is None:
            self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = self._shared.context.wrap_bio(self._received, self._sent, server_side=True)
        try:
            for _ in range(RECORDS_PER_STEP):
                end = self._next_end()
                if not end:
                    break
                self._size += end
                if self._size > MAX_HANDSHAKE_BYTES:
                    self._shared.reached("tls_handshake_bytes", self._address)
                    self._shut()
                    return
                self._received.write(self._incoming[:end])
                del self._incoming[:end]
                if self._has_finished():
                    self._open()
                    return
        except (NotTlsError, ssl.SSLError):
            self._shut()
            return
        self._shake_hands_soon()
        self._charge()
        self._update_reading()

    def _has_finished(self) -> bool:
        """Whether the handshake is done, now that the SSL object got more; its answer is sent."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            answer = self._sent.read()
            self._state = _State.HELLO if is_hello_retry(answer) else _State.HANDSHAKE
            if answer:
                self._socket.write(answer)
            return False
        self._flush()
        return True

    def _open(self) -> None:
        """Make the protocol, and hand on what came right behind the handshake."""
        self._state = _State.OPEN
        self._stop_timer()
        self._handshake_ended()
        protocol = self._factory()
        self.set_protocol(protocol)
        protocol.connection_made(self)
        self._go_on()

    # What comes

    def _go_on(self) -> None:
        """Take a turn."""
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

    def _has_record(self) -> bool:
        """Whether there is a whole record, or something that is none."""
        try:
            return record_end(self._incoming, 0, len(self._incoming)) > 0
        except NotTlsError:
            return True

    def _decrypt(self) -> None:
        """Hand on a turn's worth of data, and ask for another turn if there is more."""
        parts: list[bytes] = []
        is_over = has_failed = False
        try:
            is_over = self._read(parts)
        except (NotTlsError, ssl.SSLError):
            has_failed = True
        if self._sent.pending:
            # The answer to a change of the key, or why it failed.
            self._flush()
        if parts and self._protocol is not None:
            self._protocol.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._state is not _State.OPEN:
            return
        if has_failed:
            self._shut()
        elif is_over:
            self._incoming.clear()
            self._has_client_ended = True
            if not self._is_lost and not self._is_paused:
                self._end()
        elif self._incoming and (self._is_lost or not self._is_paused) and self._has_record():
            self._continue_soon()

    def _read(self, parts: list[bytes]) -> bool:
        """Add the data of the next records; whether the client has ended TLS."""
        incoming, received, tls = self._incoming, self._received, self._tls
        end, records = records_end(incoming, RECORDS_AT_ONCE, BYTES_AT_ONCE)
        received.write(incoming[:end])
        del incoming[:end]
        is_over, longest = False, min(end, MAX_RECORD_BYTES)
        try:
            while received.pending and not is_over:
                # The data of one record.
                data = tls.read(longest)
                is_over = not data
                parts.append(data)
        except ssl.SSLWantReadError:
            # The last ones held none.
            pass
        if len(parts) < records and not is_over:
            self._count_empty(records - len(parts))
        return is_over

    def _count_empty(self, count: int) -> None:
        """Count records that held no data. Raises `NotTlsError`: there were too many."""
        now = time.monotonic()
        if now - self._empty_since > EMPTY_SECONDS:
            self._empty_since, self._empty_records = now, 0
        self._empty_records += count
        if self._empty_records > MAX_EMPTY_RECORDS:
            self._shared.reached("tls_empty_records", self._address)
            msg = "too many records without data"
            raise NotTlsError(msg)

    def _continue_soon(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._shared.continued.do_later(self._go_on)

    def _charge(self) -> None:
        """Count what is held; one connection too many is closed."""
        change = len(self._incoming) - self._charged
        if not change:
            return
        shared = self._shared
        if change > 0 and shared.held_bytes + change > MAX_HELD_BYTES:
            shared.reached("tls_held_bytes", self._address)
            self.abort()
            return
        shared.held_bytes += change
        self._charged += change

    def _may_read_ahead(self) -> bool:
        """Whether to read what isn't decrypted yet: what is still in the kernel is lost if the client resets."""
        is_there_room = self._shared.held_bytes < MAX_HELD_BYTES // 2
        return self._state is _State.OPEN and len(self._incoming) < READ_AHEAD_BYTES and is_there_room

    def _update_reading(self) -> None:
        must_wait = self._is_paused or self._is_waiting
        should_read = self._state is _State.CLOSING or not must_wait or self._may_read_ahead()
        if should_read == self._is_reading or self._is_lost or self._socket.is_closing():
            return
        self._is_reading = should_read
        if should_read:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    # The end

    def _end(self) -> None:
        """Close, as the client has closed its side; the protocol writes its last answers before."""
        if self._state is _State.OPEN and self._protocol is not None:
            self._protocol.eof_received()
        self.close()

    def _shut(self) -> None:
        """Send what the SSL object has left, and close; what the client sends until its end is dropped.

        To close while it still sends would take back what it hasn't received yet.
        """
        is_first = self._state is not _State.CLOSING
        if is_first and self._tls is not None and not self._is_lost:
            self._flush()
        if is_first:
            self._drop()
        if self._is_lost:
            self._leave_soon()
            return
        if is_first:
            self._timer = asyncio.get_running_loop().call_later(self._shared.shutdown_seconds, self._socket.abort)
        if self._has_client_ended:
            self._socket.close()
        elif is_first:
            self._socket.write_eof()
            self._update_reading()

    def _leave_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        """Tell the protocol that the connection is lost; safe to call again."""
        self._drop()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(self._error)

    def _drop(self) -> None:
        """Take nothing more, and hold nothing."""
        self._state = _State.CLOSING
        self._incoming.clear()
        self._charge()
        self._stop_timer()
        self._handshake_ended()

    def _flush(self) -> None:
        data = self._sent.read()
        if data and not self._socket.is_closing():
            self._socket.write(data)

    def _handshake_ended(self) -> None:
        self._shared.shaking_hands.discard(self)
        if self._on_handshake_end is not None:
            self._on_handshake_end()
            self._on_handshake_end = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
