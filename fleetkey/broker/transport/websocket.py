"""MQTT over WebSocket (MQTT 3.1.1, 6): the `websockets` library's sans-I/O protocol in front of the same connection.

Over 400 lines, because it is one class between two: the protocol of the socket, and the transport of the connection.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State as WebSocketState

from fleetkey.broker.codec import Reason
from fleetkey.broker.transport.frames import FrameProtocol
from fleetkey.broker.transport.outbound import State
from fleetkey.broker.transport.upgrade import RequestEnd, UpgradeRefusedError
from fleetkey.registry import RefusalReason
from fleetkey.tls import Spoken, spoken
from fleetkey.turns import TRICKLE_BYTES

if TYPE_CHECKING:
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.connection import Connection
    from fleetkey.broker.connection_limits import ConnectionLimits
    from fleetkey.broker.scheduler import Scheduler

__all__ = ["WebSocket"]

FOREIGN_PROTOCOLS: dict[Spoken | None, RefusalReason] = {
    Spoken.TLS: RefusalReason.TLS_ON_PLAIN_PORT,
    Spoken.MQTT: RefusalReason.MQTT_ON_WEBSOCKET_PORT,
}
"""Which protocol a client speaks where an upgrade request is expected."""
MAX_UNREAD_BYTES = 64 * 1024
"""Unsent bytes of answers to a client's frames, such as pongs; beyond that, it is not read from."""
FRAMES_PER_TURN = 16
"""Frames of one client before the others get a turn."""
BYTES_PER_TURN = 64 * 1024
"""Bytes of one client before the others get a turn."""


class WebSocket(asyncio.Protocol):
    """The protocol of a socket, and the part of `asyncio.Transport` that a connection uses.

    MQTT is a stream of bytes (6.0.0-2), so each frame's content is passed on at once, and messages are not reassembled.
    Input is parsed piece by piece, but not while the connection is paused or the client doesn't read.
    """

    __slots__ = (
        "_bounds",
        "_connection",
        "_has_failed",
        "_is_done",
        "_is_feeding",
        "_is_lost",
        "_is_paused",
        "_is_reading",
        "_is_upgraded",
        "_is_waiting",
        "_limits",
        "_protocol",
        "_request",
        "_request_end",
        "_scheduler",
        "_socket",
        "_unread_bytes",
    )

    def __init__(
        self,
        connection: Connection,
        limits: ConnectionLimits,
        scheduler: Scheduler,
        bounds: BoundLog,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._scheduler = scheduler
        self._bounds = bounds
        self._protocol = FrameProtocol()
        self._socket: asyncio.Transport = None  # type: ignore[assignment] # set by connection_made, before any use
        self._request = RequestEnd()
        self._request_end = 0
        """Where the upgrade request ends while it waits for its turn."""
        self._unread_bytes = 0
        """Bytes of answers to frames since the socket's buffer was last empty."""
        self._is_upgraded = False
        self._has_failed = False
        """Whether a message was invalid, so that nothing after it is handled."""
        self._is_paused = False
        """Whether the connection has paused reading."""
        self._is_reading = True
        self._is_feeding = False
        """Whether a call of `_feed` is scheduled."""
        self._is_waiting = False
        """Whether the client has sent its close frame while the connection still handles what arrived before."""
        self._is_lost = False
        """Whether the client is gone; what it sent before is still passed on."""
        self._is_done = False
        """Whether further input is discarded."""

    # Called by the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection, which is counted from here on."""
        self._socket = transport  # type: ignore[assignment] # a stream's
        self._connection.connection_made(self)  # type: ignore[arg-type] # the part of it that is used

    def data_received(self, data: bytes) -> None:
        """Keep received bytes until their turn; reading is paused in the meantime, so this is bounded."""
        if self._is_done:
            return
        self._protocol.incoming += data
        if not self._charge():
            self.abort()
            return
        if self._is_upgraded:
            self._start_feeding()
        elif not self._request_end:
            self._upgrade(len(data))

    def eof_received(self) -> bool:
        """Close when the client closes its side without a closing handshake."""
        if self._protocol.incoming:
            # Only over TLS; the remaining input is handled in `connection_lost`.
            self._connection.hand_over()
        else:
            self._connection.eof_received()
        return False

    def pause_writing(self) -> None:
        """Have the connection hold what it sends."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Resume: the socket has sent everything."""
        self._unread_bytes = 0
        self._connection.resume_writing()
        self._feed_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on remaining input, within `LINGER_SECONDS` after CONNECT is answered; answers are discarded."""
        del exc
        self._is_lost = True
        is_begun = self._is_upgraded or self._request_end > 0
        if is_begun and self._protocol.incoming and not self._is_done and self._connection.state is not State.CLOSED:
            self._connection.resume_writing()
            self._scheduler.linger(self._give_up)
            self._feed_soon()
        else:
            self._leave()

    # Called by the connection

    def get_extra_info(self, name: str) -> Any:
        """Return what the socket reports; `websocket` is true."""
        return name == "websocket" or self._socket.get_extra_info(name)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Set the socket's limits."""
        self._socket.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        """Return the size of the socket's buffer."""
        return self._socket.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """Return False: `close` waits for the client in its own way."""
        return False

    def is_closing(self) -> bool:
        """Return whether nothing can be sent any more."""
        return self._is_lost or self._is_done or self._socket.is_closing()

    def write(self, data: bytes) -> None:
        """Send one binary frame (6.0.0-1)."""
        if not self._is_lost and not self._is_done:
            self._socket.write(Frame(Opcode.BINARY, data).serialize(mask=False))

    def pause_reading(self) -> None:
        """Stop parsing."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Resume parsing in the next turn."""
        self._is_paused = False
        self._feed_soon()
        self._update_reading()

    def close(self) -> None:
        """Send the close frame, and wait up to `LINGER_SECONDS` for the client's (RFC 6455, 7.1.2)."""
        self._is_paused = False
        if self._is_lost:
            self._end()
        elif self._is_done:
            return
        elif self._protocol.state is WebSocketState.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._answer()
            self._feed_soon()
        else:
            self._answer()
            self._finish()

    def abort(self) -> None:
        """Close at once."""
        self._drop()
        self._socket.abort()

    # The upgrade

    def _upgrade(self, size: int) -> None:
        """Answer the request once it is complete (RFC 6455, 4.2), now that `size` bytes of it or after it arrived."""
        try:
            self._request_end = self._request.find(self._protocol.incoming)
        except UpgradeRefusedError as error:
            if error.status is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                self._log_bound("upgrade_bytes")
            self._refuse(error.status)
            return
        if self._request_end:
            self._scheduler.upgrades.do(self._answer_request)
        elif size < TRICKLE_BYTES:
            # As for a CONNECT that arrives byte by byte.
            self.pause_reading()
            self._scheduler.rests.add(self.resume_reading)
        self._update_reading()

    def _answer_request(self) -> None:
        if self._is_done:
            return
        end, self._request_end = self._request_end, 0
        if not self._protocol.answer_request(end):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        self._is_upgraded = self._protocol.state is WebSocketState.OPEN
        if not self._is_upgraded:
            self._connection.note_closed(RefusalReason.UPGRADE_REFUSED)
            self._connection.close(Reason.UPGRADE_REFUSED)
            return
        self._answer()
        self._start_feeding()

    def _refuse(self, status: HTTPStatus) -> None:
        """Reject an invalid upgrade request, and close."""
        if status is not HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            why = FOREIGN_PROTOCOLS.get(spoken(self._protocol.incoming), RefusalReason.UPGRADE_REFUSED)
            self._connection.note_closed(why)
        self._socket.write(self._protocol.reject(status, f"{status.phrase}.\n").serialize())
        self._connection.close(Reason.UPGRADE_REFUSED)

    # Frames

    def _start_feeding(self) -> None:
        """Parse input now, or when its turn comes; reading is paused until then."""
        if not self._is_feeding:
            self._is_feeding = True
            if not self._scheduler.feeds.do(self._connection.turn_owner, self._feed, self.abort):
                self._update_reading()

    def _feed_soon(self) -> None:
        if not self._is_feeding and self._is_upgraded and not self._is_done:
            self._is_feeding = True
            self._scheduler.feeds.do_later(self._connection.turn_owner, self._feed, self.abort)

    def _feed(self) -> None:
        """Parse a turn's worth of input and pass it on; continue in a later turn, or when there is room."""
        self._is_feeding = False
        if self._is_done:
            return
        protocol, frames, size = self._protocol, FRAMES_PER_TURN, BYTES_PER_TURN
        while protocol.incoming and not protocol.eof_sent and not self._must_wait():
            if frames <= 0 or size <= 0:
                self._feed_soon()
                break
            if self._connection.state is State.OPEN:
                protocol.admit()
            read, frame = protocol.read_frame(size)
            # What the connection keeps of a frame is charged there.
            self._charge()
            size -= read
            if frame is not None:
                frames -= 1
                self._take(frame)
        if self._is_done:
            # Handling a frame has closed the connection.
            return
        if protocol.eof_sent:
            self._on_closing()
        elif protocol.state is WebSocketState.OPEN:
            self._answer()
        else:
            # Nothing follows the close frame, not even pongs.
            protocol.data_to_send()
        if not self._is_done and self._is_lost and not protocol.incoming and not protocol.eof_sent:
            self._leave()
        self._update_reading()

    def _charge(self) -> bool:
        size = self._protocol.held_bytes
        self._connection.hold_frames(size)
        return self._limits.holds(self._connection, "frames", size)

    def _must_wait(self) -> bool:
        return self._is_done or self._is_paused or self._unread_bytes > MAX_UNREAD_BYTES

    def _take(self, frame: Frame) -> None:
        """Pass on a frame's content; fail if the message isn't binary (6.0.0-1) or has too many frames."""
        if self._has_failed or self._is_done:
            return
        if frame.opcode is Opcode.TEXT:
            self._connection.note_closed(RefusalReason.MALFORMED, "websocket: not binary")
            self._fail(CloseCode.UNSUPPORTED_DATA, "not binary")
        elif frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
            if self._protocol.has_too_many_fragments(frame):
                self._log_bound("websocket_fragments")
                self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")
            elif frame.data:
                self._connection.data_received(bytes(frame.data))

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._has_failed = True
        self._protocol.fail(code, reason)

    def _answer(self) -> None:
        """Send the library's output: the answer to the upgrade, pongs, close frames."""
        data = b"".join(self._protocol.data_to_send())
        if data and not self._is_lost:
            self._socket.write(data)
            self._unread_bytes = self._unread_bytes + len(data) if self._socket.get_write_buffer_size() else 0

    # The end

    def _on_closing(self) -> None:
        """Continue the closing handshake, or close after a failure."""
        connection, protocol = self._connection, self._protocol
        if self._is_done:
            return
        if isinstance(protocol.parser_exc, PayloadTooBig):
            self._log_bound("websocket_message_bytes")
            self._has_failed = True
        if connection.state is State.CLOSED:
            # Otherwise, wait for the client's close frame.
            if protocol.eof_sent:
                self._finish()
        elif self._is_lost:
            self._leave()
        elif protocol.close_rcvd is None or protocol.parser_exc is not None:
            if not self._has_failed:
                connection.note_closed(RefusalReason.MALFORMED, "websocket")
            connection.close(Reason.MALFORMED_PACKET)
        elif not self._is_paused:
            connection.close(Reason.CONNECTION_LOST)
        elif not self._is_waiting:
            self._is_waiting = True
            self._scheduler.linger(self._give_up)

    def _finish(self) -> None:
        """Close the socket after its buffer is sent."""
        self._drop()
        if not self._socket.can_write_eof():
            # The TLS transport keeps reading until the client closes its side.
            self._socket.close()
        elif self._protocol.close_rcvd is None:
            # Closing while the client still sends would reset the connection, which discards what it hasn't received.
            self._socket.write_eof()
            self._update_reading()
        else:
            is_sent = not self._socket.get_write_buffer_size()
            self._socket.close()
            if is_sent:
                self._connection.end()

    def _give_up(self) -> None:
        """Stop handling remaining input, unless CONNECT is unanswered, which has its own timeout."""
        connection = self._connection
        if connection is not None and connection.state is State.DECIDING:
            self._scheduler.linger(self._give_up)
        elif self._is_lost:
            self._end()
        else:
            connection.close(Reason.CONNECTION_LOST)

    def _leave(self) -> None:
        """Let the connection handle what it has, now that the client is gone, for at most `LINGER_SECONDS`."""
        self._drop()
        self._connection.lost()
        if self._connection.state is State.CLOSED:
            self._end()
        else:
            self._scheduler.linger(self._give_up)

    def _end(self) -> None:
        """End the connection and release it, as they refer to each other; safe to call again."""
        self._drop()
        connection = self._connection
        if connection is not None:
            self._connection = None  # type: ignore[assignment] # not used from here on
            connection.end()

    def _drop(self) -> None:
        """Handle nothing more."""
        self._is_done = True
        self._protocol.release()

    def _update_reading(self) -> None:
        has_work = bool(self._protocol.incoming) if self._is_upgraded else self._request_end > 0
        should_read = self._is_done or not (has_work or self._must_wait())
        if self._is_lost or self._socket.is_closing() or should_read == self._is_reading:
            return
        self._is_reading = should_read
        if should_read:
            self._socket.resume_reading()
        else:
            self._socket.pause_reading()

    def note_closed(self, why: RefusalReason, detail: str = "") -> None:
        """Trace that it is about to be closed because of what its client did."""
        self._connection.note_closed(why, detail)

    def _log_bound(self, bound: str) -> None:
        self._connection.note_closed(RefusalReason.BOUND_REACHED, bound)
        session = self._connection.session
        if session is not None:
            self._bounds.reached(bound, client_id=session.client_id)
        else:
            self._bounds.reached_by_stranger(bound, self._connection.address)
