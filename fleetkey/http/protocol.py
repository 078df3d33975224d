"""uvicorn's HTTP protocol, with bounds on what a client may do before its request is read.

Over 400 lines, because uvicorn's protocol is one class, and so are the callbacks that its parser makes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleetkey.http.connections import Place
from fleetkey.http.framing import BOUND_DETAILS, MAX_PIECE_BYTES, RequestFraming
from fleetkey.http.held import Flow, HeldBytes
from fleetkey.http.local import is_for_reserve
from fleetkey.http.problems import last_problem
from fleetkey.http.slow_reader import SlowReader
from fleetkey.http.unsent import WRITE_BUFFER_BYTES, Unsent
from fleetkey.registry import RefusalReason
from fleetkey.tls import Spoken, spoken

if TYPE_CHECKING:
    from fleetkey.http.connections import HttpConnections

__all__ = ["DRAIN_SECONDS", "HEADER_SECONDS", "MAX_PIPELINED_REQUESTS", "MAX_QUEUED_BYTES", "BoundedHttpProtocol"]

HEADER_SECONDS = 10.0
"""How long a request's line and headers may take before the connection is closed."""
DRAIN_SECONDS = 1.0
"""How long a client may keep sending the body of an answered request before the connection is closed."""
CUT_SECONDS = 10.0
"""How long a closed connection may take to send pending data before it is aborted."""
MAX_UNREAD_BODY_BYTES = 16 * 1024
"""How much of a body is parsed before the request reads it; the rest is held unparsed, and charged as such."""
MAX_PIPELINED_REQUESTS = 8
"""Unanswered requests per connection, including the running one; at the bound, reading is paused."""
MAX_QUEUED_BYTES = 32 * 1024
"""Bytes of queued requests per connection; at the bound, reading is paused."""
FIRST_PRINTABLE = 0x20
FOREIGN: dict[Spoken | None, RefusalReason] = {
    Spoken.TLS: RefusalReason.TLS_ON_PLAIN_PORT,
    Spoken.MQTT: RefusalReason.MQTT_ON_HTTP_PORT,
}
"""Which protocol a client speaks where HTTP is expected."""
TOO_MANY = "Too many connections; try again."


class _StoppedError(Exception):
    """Stops the parser in the middle of its input; uvicorn then reports a malformed request, which is ignored."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections that don't send a request in time, and refuses requests beyond a bound.

    Requests are answered in order. Their queue is bounded; beyond that, input is held unparsed and reading is paused
    until there is room. A client that sends headers in parts is read from only after a rest.
    """

    flow: Flow

    def __init__(self, *args: Any, shared: HttpConnections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shared = shared
        self._address = ""
        self._place = Place.NONE
        self._framing = RequestFraming()
        self._is_ended = False
        """Whether further input is ignored."""
        self._is_fed_in_body = False
        """Whether the current piece began inside a body, so that it may also contain later requests."""
        self._is_handed_over = False
        """Whether `cycle` is the request being parsed; until its headers end, it is the previous one."""
        self._is_upgrade = False
        """Whether the request has an `Upgrade` header; the parser then skips its body, so this class reads it."""
        self._last_words = b""
        """A refusal to send once the requests before it are answered."""
        self._held = HeldBytes(shared)
        self._arrived = b""
        """Input that is about to be parsed, or held if it isn't this connection's turn."""
        self._feed_handle: asyncio.Handle | None = None
        self._queued_bytes: deque[int] = deque()
        """Bytes of each request in `pipeline`, oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._running: Any = None
        """uvicorn's request being answered; `cycle` is the one parsed last."""
        self._slow_reader: SlowReader | None = None
        self._unsent: Unsent
        self._cut_timer: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """Received bytes that are not parsed yet for lack of room."""
        return len(self._held)

    @property
    def unanswered(self) -> int:
        """The number of requests parsed but not answered yet."""
        return len(self.pipeline) + (self._running is not None and not self._running.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own signature
        """Accept a connection, or refuse it at once if there are too many."""
        super().connection_made(transport)
        self.flow = Flow(transport, self._may_read, self._shared.rests)
        self._slow_reader = SlowReader(self.loop, transport, lambda: self.cut("min_read_bytes"))
        self._address = self.client[0] if self.client else ""
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._unsent = Unsent(self._shared.unsent, self, self._shared.bucket(self._address), transport, self.flow)
        if self._shared.has_descriptor(transport):
            self._place = self._shared.arrived(self._address)
        if self._place is Place.NONE:
            self._is_ended = True
            transport.abort()
        elif self._place is Place.REFUSED:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY)
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and release the held bytes and the connection's place."""
        self._stop_timer()
        if self._slow_reader is not None:
            self._slow_reader.stop()
        if self._cut_timer is not None:
            self._cut_timer.cancel()
        self._is_ended = True
        self._let_go()
        self._unsent.end()
        if self._place is not Place.NONE:
            self._shared.left(self._address, self._place)
        end = super().connection_lost
        if self.unanswered:
            if self._running is not None:
                # It must stop writing now, even if it is notified later.
                self._running.disconnected = True
            self._shared.endings.do(lambda: end(exc))
        else:
            end(exc)

    def data_received(self, data: bytes) -> None:
        """Parse input as far as there is room, and rest if that ends within a request's headers."""
        if self._is_ended:
            return
        self._arrived = self._held.followed_by(data)
        if self._shared.parses(self._arrived).do(self._parse):
            return
        data, self._arrived = self._arrived, b""
        if self._held.keep(data, 0):
            self.flow.pause_reading()
        else:
            self._shared.reached("max_held_bytes", self._address)
            self._stop_taking()

    def _parse(self) -> None:
        """Parse new input, or input that was held until this connection's turn."""
        data, self._arrived = self._arrived, b""
        if data:
            if data[0] < FIRST_PRINTABLE and self.cycle is None and (why := FOREIGN.get(spoken(data))) is not None:
                self._shared.refused(why, self._address, "")
            self._feed(data, 0)
            if self._framing.is_partial and not self._is_ended:
                self.flow.rest()
        elif self._held and self._feed_handle is None and not self._is_ended:
            self._feed_held()

    def on_message_begin(self) -> None:
        """Start counting and timing the next request's headers."""
        if not self._has_room():
            # Only after a chunked body, which may end anywhere within a piece.
            self._shared.reached("max_pipelined_requests", self._address)
            self._stop_taking()
            raise _StoppedError
        super().on_message_begin()
        self._framing.begin()
        self._is_handed_over = self._is_upgrade = False
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Count a part of the request line."""
        self._framing.target(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; discard a trailer, which must not be merged into the headers (RFC 9110, 6.5.1)."""
        if self._framing.is_in_body:
            return
        self._framing.header(name, value)
        if self._refuse_beyond_bound():
            raise _StoppedError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass on the request; its body has separate bounds."""
        self._framing.headers_end(self.headers)
        self._is_upgrade = bool(self.parser.should_upgrade())
        self._stop_timer()
        if self._refuse_beyond_bound():
            return
        if self._is_upgrade and (self._framing.body_left is None or self._is_fed_in_body):
            # The parser stops at the end of the headers and drops the rest of its input, so a chunked body is lost.
            self._refuse(HTTPStatus.BAD_REQUEST, "A request with Upgrade can't have, or follow, a chunked body.")
            return
        if self._place is Place.RESERVED and not is_for_reserve(self.url, self.headers, self._address):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY)
            return
        super().on_headers_complete()
        self._is_handed_over = True
        if self._place is Place.RESERVED:
            self.cycle.keep_alive = False
        if self.cycle is not self._running:
            self._queued_bytes.append(self._framing.header_bytes)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if self._queued_bytes:
            self._queued_bytes.popleft()
        super()._start_asgi_task(cycle, self._unsent.charging(app, cycle))

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._framing.body(len(body))
        if self._is_ended:
            return
        if self.cycle is not self._running:
            self._queued_bytes[-1] += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Pass on the end of the request."""
        if self._is_upgrade and self._framing.body_left:
            return
        self._framing.end()
        self._stop_timer()
        if self._is_ended:
            return
        super().on_message_complete()
        if not self.cycle.keep_alive:
            self._stop_taking()

    def on_response_complete(self) -> None:
        """If the client is still sending the body, give it `DRAIN_SECONDS` to finish, then close."""
        super().on_response_complete()
        if self.transport.is_closing() or self.unanswered:
            return
        if self._last_words:
            self.transport.write(self._last_words)
            self._close()
        elif self._framing.is_in_body:
            self._stop_timer()
            self._timer = self.loop.call_later(DRAIN_SECONDS, self._close)

    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request, in the same format as every refusal."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def pause_writing(self) -> None:
        """Pause writing, and charge what the client hasn't read."""
        super().pause_writing()
        self._unsent.update()

    def resume_writing(self) -> None:
        """Resume writing, and note for the next check that the client has read nearly everything."""
        if self._slow_reader is not None:
            self._slow_reader.has_read()
        super().resume_writing()
        self._unsent.update()

    def cut(self, bound: str) -> None:
        """Abort the connection of a client that doesn't read, which frees its buffered answers and its place."""
        self._unsent.end()
        if self._running is not None:
            # Otherwise, it would keep writing what nobody reads.
            self._running.disconnected = True
        self.pipeline.clear()
        self._queued_bytes.clear()
        self._shared.reached(bound, self._address)
        self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a server may ignore `Upgrade` (RFC 9110, 7.8), and any client could flood the log with it."""

    def _feed(self, data: bytes, at: int) -> None:
        """Feed the parser piece by piece while there is room, and hold the rest."""
        while at < len(data) and not self._is_ended and not self.transport.is_closing():
            if not self._has_room():
                self._hold(data, at)
                return
            stop = min(len(data), at + (MAX_PIECE_BYTES if self.pipeline else MAX_UNREAD_BODY_BYTES))
            end = self._framing.piece_end(data, at, stop)
            self._feed_piece(data[at:end])
            at = end
        self._let_go()
        if not self._is_ended and self._is_idle():
            # Empty lines before a request (RFC 9112, 2.2) stop the keep-alive timer without starting a request.
            self._await_headers()

    def _feed_piece(self, piece: bytes) -> None:
        self._is_fed_in_body = self._framing.is_in_body
        self._framing.charge(len(piece))
        if self._is_fed_in_body and self._is_upgrade:
            self._unset_keepalive_if_required()
            self.on_body(piece)
            if not self._framing.body_left:
                self.on_message_complete()
        else:
            super().data_received(piece)
        self._refuse_beyond_bound()

    def _has_room(self) -> bool:
        """Whether more input may be parsed without exceeding the bounds on queued requests and unread bodies."""
        if not self.pipeline:
            return not self._is_body_unread()
        if self._framing.is_between:
            return self.unanswered < MAX_PIPELINED_REQUESTS and sum(self._queued_bytes) < MAX_QUEUED_BYTES
        # Partial headers have their own bound. A body that is arriving belongs to the last queued request.
        return not self._framing.is_in_body or sum(self._queued_bytes) < MAX_QUEUED_BYTES

    def _is_body_unread(self) -> bool:
        """Whether the running request must first read what has arrived of its body."""
        return (
            self._framing.is_in_body
            and self._is_handed_over
            and not self.cycle.response_complete
            and len(self.cycle.body) >= MAX_UNREAD_BODY_BYTES
        )

    def _hold(self, data: bytes, at: int) -> None:
        """Keep the rest of the input until there is room, and pause reading."""
        if not self._held and self.pipeline:
            is_full = self.unanswered >= MAX_PIPELINED_REQUESTS
            self._shared.reached("max_pipelined_requests" if is_full else "max_queued_bytes", self._address)
        if self._held.keep(data, at):
            self.flow.pause_reading()
        else:
            self._shared.reached("max_held_bytes", self._address)
            self._stop_taking()

    def _let_go(self) -> None:
        self._held.let_go()
        if self._feed_handle is not None:
            self._feed_handle.cancel()
            self._feed_handle = None

    def _may_read(self) -> bool:
        """Whether reading may resume now; if bytes are held, they are parsed first, and reading resumes afterwards."""
        if self._held and self._feed_handle is None:
            # Not immediately: uvicorn calls this just before it dequeues the next request.
            self._feed_handle = self.loop.call_soon(self._feed_held)
        return not self._held

    def _feed_held(self) -> None:
        self._feed_handle = None
        self._feed(*self._held.rest())
        # With queued requests or an unread body, uvicorn resumes by itself as soon as there is room.
        is_taken = self.cycle is None or len(self.cycle.body) <= HIGH_WATER_LIMIT
        if not self.pipeline and is_taken and not self.transport.is_closing():
            self.flow.resume_reading()

    def _close(self) -> None:
        """Close after sending pending data; abort after `CUT_SECONDS` if the client doesn't read it.

        Over TLS, the transport's buffer size doesn't include the layer below, and nothing else would end such a
        connection.
        """
        self.transport.close()
        if self._cut_timer is None:
            self._cut_timer = self.loop.call_later(CUT_SECONDS, self.transport.abort)

    def _stop_taking(self) -> None:
        """Answer the complete requests, the last one with `Connection: close`, and close."""
        self._is_ended = True
        self._stop_timer()
        self._let_go()
        self._drop_unfinished()
        last = self.pipeline[0][0] if self.pipeline else self._running
        if last is None or last.response_complete:
            self._close()
        else:
            last.keep_alive = False

    def _drop_unfinished(self) -> None:
        """Drop a queued request whose body won't be parsed to its end."""
        if self._framing.is_in_body and self._is_handed_over and self.pipeline:
            self.pipeline.popleft()
            self._queued_bytes.pop()

    def _is_idle(self) -> bool:
        """Whether no request is running or arriving, and no timer is running."""
        is_answered = self.cycle is None or self.cycle.response_complete
        is_watched = self._timer is not None or self.timeout_keep_alive_task is not None
        return is_answered and not is_watched and not self.transport.is_closing()

    def _await_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._close_slow)

    def _close_slow(self) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"No request within {HEADER_SECONDS:g} s.")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_beyond_bound(self) -> bool:
        """Refuse the request being parsed if it exceeds a bound; True if it does."""
        bound = self._framing.bound_reached
        if bound is None or self._is_ended:
            return False
        self._shared.reached(bound, self._address)
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, BOUND_DETAILS[bound])
        return True

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer with a problem, once the requests before this one are answered, and close."""
        if self._is_ended:
            return
        self._is_ended = True
        self._stop_timer()
        self._let_go()
        if self.transport.is_closing():
            return
        answer = last_problem(status, detail)
        if self._framing.is_in_body and self._is_handed_over and not self.pipeline:
            # Its handler is running and may have answered, and a request must not get two answers.
            request = self._running
            answer = b"" if request.response_started else answer
            request.disconnected = True
            request.message_event.set()
        else:
            self._drop_unfinished()
            if self.unanswered:
                self._last_words = answer
                return
        self.transport.write(answer)
        self._close()
